//! `${VAR}` and `${VAR:-default}` in texts, as Metaxy expands them.

use super::Environment;

/// A variable without a value and without a default.
#[derive(Debug, PartialEq)]
pub struct Unset<'t>(pub &'t str);

/// `text` with its variables replaced, once: what a variable holds is not looked at again. A default
/// counts only if the variable is not set at all, and ends at the first `}`. What does not have one
/// of the two forms stays as it is.
pub fn expand<'t>(text: &'t str, environment: &Environment) -> Result<String, Unset<'t>> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, found) = rest.split_at(start);
        expanded.push_str(before);
        match reference(found) {
            Some((name, default, after)) => {
                expanded.push_str(environment.variable(name).or(default).ok_or(Unset(name))?);
                rest = after;
            }
            None => {
                let (dollar, after) = found.split_at(1);
                expanded.push_str(dollar);
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The name and the default of the reference that `text` begins with, and what comes after it.
fn reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let inside = text.strip_prefix("${")?;
    let end = inside.find([':', '}']).filter(|end| *end > 0)?;
    let (name, rest) = inside.split_at(end);
    if let Some(after) = rest.strip_prefix('}') {
        return Some((name, None, after));
    }
    let (default, after) = rest.strip_prefix(":-")?.split_once('}')?;
    Some((name, Some(default), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_expand_as_in_metaxy() {
        let environment = Environment::new([("A", "${B}"), ("B", "b"), ("E", "")], "/");
        for (text, expanded) in [
            ("plain", "plain"),
            ("${A}x${B:-d}", "${B}xb"),
            ("${U:-x:-y}", "x:-y"),
            ("${U:-}", ""),
            ("${E:-unused}", ""),
            ("${U:-${B}}", "${B}"),
            ("$B ${} $${B} ${U:b} ${B", "$B ${} $b ${U:b} ${B"),
            ("${A B:-c}é${B}", "céb"),
        ] {
            assert_eq!(expand(text, &environment).unwrap(), expanded, "{text}");
        }
        assert_eq!(expand("${B}${U}", &environment), Err(Unset("U")));
        assert_eq!(expand("${ B }", &environment), Err(Unset(" B ")));
    }
}
