//! Sheets as kubectl's `describe` writes them: names and values, one to a line,
//! with tables between.

use std::fmt::Write as _;

use super::one_line;
use super::table::Table;

/// How wide names are.
const WIDTH: usize = 18;

/// A sheet about one object.
#[derive(Debug, Default)]
pub(crate) struct Sheet(String);

impl Sheet {
    /// A name and its value.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        self.line(&format!("{name}:"), value);
    }

    /// A name and its value, if there is one.
    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// Several values, the first beside the name.
    pub(crate) fn list(&mut self, name: &str, values: &[String]) {
        self.field(name, values.first().map_or("<none>", String::as_str));
        for value in values.iter().skip(1) {
            self.line("", value);
        }
    }

    /// As [`Sheet::list`], but nothing if there is no value.
    pub(crate) fn some(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.list(name, values);
        }
    }

    /// A table under its name.
    pub(crate) fn table(&mut self, name: &str, table: &Table) {
        if table.is_empty() {
            self.field(name, "<none>");
        } else {
            self.block(name, &table.render(true));
        }
    }

    /// Lines under their name.
    pub(crate) fn block(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "{name}:");
        for line in text.lines() {
            let _ = writeln!(self.0, "  {}", one_line(line));
        }
    }

    /// The whole sheet.
    pub(crate) fn text(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:WIDTH$}{}", one_line(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_under_each_other() {
        let mut sheet = Sheet::default();
        sheet.field("Name", "ky04");
        sheet.list("Domains", &["a.example.org".into(), "b.example.org".into()]);
        sheet.list("URLs", &[]);
        sheet.some("Secrets", &[]);
        sheet.table("Services", &Table::new(["NAME"]));
        sheet.block("Spec", "a: 1\nb: 2\n");
        assert_eq!(
            sheet.text(),
            "Name:             ky04\n\
             Domains:          a.example.org\n                  b.example.org\n\
             URLs:             <none>\n\
             Services:         <none>\n\
             Spec:\n  a: 1\n  b: 2\n"
        );
    }
}
