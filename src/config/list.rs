//! The stores of a configuration, as rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, LargeListBuilder, LargeStringArray, LargeStringBuilder, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::Config;
use super::tree::Place;
use crate::backend::mask;
use crate::error::{Error, Result, Status};

impl Config {
    /// The stores in the columns of [`stores_schema`], sorted by name. What cannot be told, because a
    /// variable is not set for example, is null, and `problem` says why the store cannot be opened.
    pub fn stores(&self) -> Result<RecordBatch> {
        let stores = self.stores_by_name()?;
        let text = |of: &dyn Fn(&str, &Place<'_>) -> Option<String>| -> ArrayRef {
            Arc::new(stores.iter().map(|(name, place)| of(name, place)).collect::<LargeStringArray>())
        };
        let setting = |place: &Place<'_>, name: &str| place.member("config")?.member(name)?.text().ok();
        let default = self.default_store().ok();
        let project = self.project().ok().flatten();
        let mut fallbacks = LargeListBuilder::new(LargeStringBuilder::new());
        for (_, place) in &stores {
            let list = place.member("config").and_then(|config| config.member("fallback_stores"));
            match list.map_or_else(|| Ok(Vec::new()), |list| list.texts()) {
                Ok(names) => fallbacks.append_value(names.into_iter().map(Some)),
                Err(_) => fallbacks.append_null(),
            }
        }
        let columns: Vec<ArrayRef> = vec![
            text(&|name, _| Some(name.to_owned())),
            text(&|_, place| place.member("type")?.text().ok()),
            text(&|_, place| Some(mask(&setting(place, "uri")?))),
            Arc::new(fallbacks.finish()),
            text(&|_, place| setting(place, "hash_algorithm")),
            text(&|_, _| project.clone()),
            Arc::new(BooleanArray::from_iter(
                stores.iter().map(|(name, _)| Some(default.as_deref() == Some(*name))),
            )),
            text(&|_, place| Some(place.origin().file()?.display().to_string())),
            text(&|name, _| self.problem(name)),
        ];
        RecordBatch::try_new(stores_schema(), columns).map_err(|cause| {
            Error::new(Status::Internal, format!("the list of stores is malformed: {cause}"))
        })
    }
}

/// The columns of [`Config::stores`].
pub fn stores_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::LargeUtf8, true);
    Arc::new(Schema::new(vec![
        text("name"),
        text("type"),
        text("uri"),
        Field::new(
            "fallback_stores",
            DataType::LargeList(Arc::new(Field::new("item", DataType::LargeUtf8, true))),
            true,
        ),
        text("hash_algorithm"),
        text("project"),
        Field::new("is_default", DataType::Boolean, true),
        text("file"),
        text("problem"),
    ]))
}
