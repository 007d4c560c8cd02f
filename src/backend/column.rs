//! What columns may be called.

/// Why no table can have a column of this name, if so: LanceDB would write it and not read it back.
pub fn unusable_column_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a column needs a name")
    } else if name.contains('.') {
        Some("LanceDB takes a dot for the way to a struct member")
    } else if name.contains('`') {
        Some("LanceDB quotes names in backticks")
    } else if lance_core::is_system_column(name) {
        Some("LanceDB has a column of its own by this name")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lancedb_cannot_read_back_are_known() {
        for name in ["", "a.b", "a`b", "_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version"] {
            assert!(unusable_column_name(name).is_some(), "{name}");
        }
        for name in ["_row", "_rowing", "a b", "é", "select", "a\"b"] {
            assert_eq!(unusable_column_name(name), None, "{name}");
        }
    }
}
