//! Lists as a table for people or as JSON for programs, from one description.
//!
//! A list has named columns; JSON gives an array of objects with those names, so both forms always say the same. What is no list
//! is a [`Description`].

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::CliError;
use super::args::OutputFormat;

/// Rows under named columns.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// An empty list.
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row: one value a column.
    pub(super) fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.columns.len(), "a row must have a value for each column");
        self.rows.push(row.into());
    }

    /// Writes the list.
    pub(super) fn print(&self, output: OutputFormat, out: &mut dyn Write) -> Result<(), CliError> {
        match output {
            OutputFormat::Table => writeln!(out, "{}", self.to_table())?,
            OutputFormat::Json => writeln!(out, "{:#}", self.to_json())?,
        }
        Ok(())
    }

    /// The list as an array of objects.
    pub(super) fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row.iter().cloned()).collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    fn to_table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|name| name.to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(cell));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Something that is shown whole, as one JSON object or as tables.
pub(super) trait Description {
    /// For programs.
    fn to_json(&self) -> Value;

    /// For people.
    fn print(&self, out: &mut dyn Write) -> Result<(), CliError>;
}

/// Writes descriptions one after the other; for programs, as one array.
pub(super) fn print_described(
    described: &[impl Description],
    output: OutputFormat,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    match output {
        OutputFormat::Json => {
            let all = described.iter().map(Description::to_json).collect();
            Ok(writeln!(out, "{:#}", Value::Array(all))?)
        }
        OutputFormat::Table => described.iter().try_for_each(|one| one.print(out)),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn printed(output: OutputFormat) -> String {
        let mut listing = Listing::new(&["name", "partitions", "error"]);
        listing.push([json!("hello"), json!(4), Value::Null]);
        listing.push([json!("a longer name"), json!(16), json!("none")]);
        let mut out = Vec::new();
        listing.print(output, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_get_columns() {
        expect![[r#"
            NAME           PARTITIONS  ERROR
            hello          4           -
            a longer name  16          none
        "#]]
        .assert_eq(&printed(OutputFormat::Table));
    }

    #[test]
    fn programs_get_objects() {
        expect![[r#"
            [
              {
                "error": null,
                "name": "hello",
                "partitions": 4
              },
              {
                "error": "none",
                "name": "a longer name",
                "partitions": 16
              }
            ]
        "#]]
        .assert_eq(&printed(OutputFormat::Json));
    }
}
