//! Files: finding one, reading it, and following `extend`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Environment;
use super::tree::{Node, Origin, Place, Table, Value, extended, parse};
use crate::error::{Error, Result, Status};

const METAXY: &str = "metaxy.toml";
const PYPROJECT: &str = "pyproject.toml";

/// The nearest file, in `directory` or above it. In one directory, `metaxy.toml` goes before
/// `pyproject.toml`, which counts only if it has something in `[tool.metaxy]`.
pub fn discover(directory: &Path) -> Result<Option<PathBuf>> {
    for directory in directory.ancestors() {
        let metaxy = directory.join(METAXY);
        if metaxy.exists() {
            return Ok(Some(metaxy));
        }
        let pyproject = directory.join(PYPROJECT);
        if pyproject.exists() && !read(&pyproject)?.is_empty() {
            return Ok(Some(pyproject));
        }
    }
    Ok(None)
}

/// The settings of `file`, over those of the files that it extends.
pub fn load(file: &Path, environment: &Environment) -> Result<Table> {
    let mut files = vec![file.to_owned()];
    let mut tables = Vec::new();
    let mut next = Some(file.to_owned());
    while let Some(file) = next {
        let mut table = read(&file)?;
        next = extends(&mut table, &file, &files, environment)?;
        files.extend(next.clone());
        tables.push(table);
    }
    Ok(tables.into_iter().rev().reduce(extended).unwrap_or_default())
}

/// Takes `extend` out of a file's settings: the file that it names, which is none of `files`.
fn extends(
    table: &mut Table,
    file: &Path,
    files: &[PathBuf],
    environment: &Environment,
) -> Result<Option<PathBuf>> {
    let Some(node) = table.remove("extend") else { return Ok(None) };
    let root = Node {
        value: Value::Table(Table::from([("extend".to_owned(), node)])),
        origin: Origin::start_of(file),
    };
    let Some(place) = Place::root(&root, environment).member("extend") else { return Ok(None) };
    let path = place.text()?;
    let base = file.parent().unwrap_or(Path::new("")).join(&path);
    if !base.exists() {
        return Err(place
            .refuse_as(Status::NotFound, format!("names the file {}, which is not there", base.display())));
    }
    let identity = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if files.iter().any(|seen| identity(seen) == identity(&base)) {
        let way: Vec<String> = files.iter().chain([&base]).map(|file| file.display().to_string()).collect();
        return Err(place.refuse(format!("comes back to a file that it began with: {}", way.join(" -> "))));
    }
    Ok(Some(base))
}

/// The settings in `file`: all of it, or `[tool.metaxy]` of a `pyproject.toml`.
fn read(file: &Path) -> Result<Table> {
    let text = std::fs::read(file).map_err(|cause| {
        let status = match cause.kind() {
            ErrorKind::NotFound => Status::NotFound,
            ErrorKind::PermissionDenied => Status::Permission,
            _ => Status::Io,
        };
        Error::new(status, format!("the configuration {} cannot be read: {cause}", file.display()))
            .with("file", file.display())
            .caused_by(&cause)
    })?;
    let text = String::from_utf8(text).map_err(|cause| {
        Error::invalid(format!(
            "the configuration {} is not UTF-8 from byte {} on",
            file.display(),
            cause.utf8_error().valid_up_to()
        ))
        .with("file", file.display())
    })?;
    let mut table = parse(&text, file)?;
    if file.file_name().is_none_or(|name| name != PYPROJECT) {
        return Ok(table);
    }
    let take = |table: &mut Table, name: &str| match table.remove(name).map(|node| node.value) {
        Some(Value::Table(members)) => members,
        _ => Table::new(),
    };
    let mut tool = take(&mut table, "tool");
    Ok(take(&mut tool, "metaxy"))
}
