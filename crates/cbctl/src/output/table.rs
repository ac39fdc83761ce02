//! Tables as kubectl writes them: columns three spaces apart and at least six
//! wide, nothing after the last one.

use super::one_line;

const GAP: usize = 3;
const MIN_WIDTH: usize = 6;

/// Rows under headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<S: Into<String>>(headers: impl IntoIterator<Item = S>) -> Self {
        Self {
            headers: headers.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| one_line(cell)).collect();
        self.rows.push(cells);
    }

    /// The text, with or without the headers.
    pub(crate) fn render(&self, headers: bool) -> String {
        let widths = if headers {
            self.widths()
        } else {
            widest(self.headers.len(), self.rows.iter())
        };
        self.render_under(headers, &widths)
    }

    /// How wide each column is, headers and all.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let all = std::iter::once(&self.headers).chain(&self.rows);
        widest(self.headers.len(), all)
    }

    /// The text in columns of these widths, which a longer cell exceeds.
    pub(crate) fn render_under(&self, headers: bool, widths: &[usize]) -> String {
        let headers = headers.then_some(&self.headers);
        let mut out = String::new();
        for row in headers.into_iter().chain(&self.rows) {
            for (n, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if n + 1 < row.len() {
                    let width = (widths.get(n).copied().unwrap_or(0) + GAP).max(MIN_WIDTH);
                    let letters = cell.chars().count();
                    let gap = width.saturating_sub(letters).max(GAP);
                    out.extend(std::iter::repeat_n(' ', gap));
                }
            }
            out.push('\n');
        }
        out
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn widest<'a>(columns: usize, rows: impl Iterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

/// A text, or `<none>` as kubectl has it.
pub(crate) fn or_none(text: Option<impl Into<String>>) -> String {
    text.map_or_else(|| "<none>".into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_apart_and_six_wide() {
        let mut table = Table::new(["NAME", "N", "AGE"]);
        table.row(vec!["ky04".into(), "1".into(), "5m".into()]);
        table.row(vec!["a-long-name".into(), "22".into(), "3d4h".into()]);
        assert_eq!(
            table.render(true),
            "NAME          N     AGE\nky04          1     5m\na-long-name   22    3d4h\n"
        );
        assert_eq!(
            table.render(false),
            "ky04          1     5m\na-long-name   22    3d4h\n"
        );
    }

    #[test]
    fn a_cell_is_one_line_and_letters_are_counted() {
        let mut table = Table::new(["MESSAGE", "AGE"]);
        table.row(vec!["Ähnlichkeit\nx".into(), "1s".into()]);
        assert_eq!(
            table.render(true),
            "MESSAGE          AGE\nÄhnlichkeit\\nx   1s\n"
        );
    }
}
