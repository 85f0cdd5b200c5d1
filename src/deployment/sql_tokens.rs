//! SQL text as tokens, so that comments, white space and letter case of names do not matter.
//!
//! Knows just enough of `CREATE` statements to find what pragmas do not tell: CHECK expressions, generated columns,
//! partial-index conditions, conflict and deferral clauses. Never executes SQL.

/// One token: names in lower case and unquoted, literals as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }
}

/// The whole statement as normalised text: one blank between tokens.
pub(crate) fn normalised(sql: &str) -> String {
    join(&tokens(sql))
}

/// The whole statement as somebody would write it: keywords in capitals, one blank, none inside parentheses.
pub(crate) fn readable(sql: &str) -> String {
    let mut text = String::new();
    let mut before: Option<Token> = None;
    // Semicolons end the statements of a trigger.
    let all = all_tokens(sql);
    let end = all.iter().rposition(|token| !token.is(";")).map_or(0, |at| at + 1);
    for token in all.into_iter().take(end) {
        let is_close = [")", ",", ".", ";"].iter().any(|symbol| token.is(symbol));
        let after_open = before.as_ref().is_some_and(|before| before.is("(") || before.is("."));
        // `x'00'` is one literal in SQL.
        let blob = token.text.starts_with('\'') && before.as_ref().is_some_and(|before| before.is("x"));
        if before.is_some() && !is_close && !after_open && !blob {
            text.push(' ');
        }
        if token.quoted {
            text.push_str(&identifier(&token.text));
        } else if is_keyword(&token.text) || OTHER_KEYWORDS.contains(&token.text.as_str()) {
            text.push_str(&token.text.to_uppercase());
        } else {
            text.push_str(&token.text);
        }
        before = Some(token);
    }
    text
}

/// A name as SQL has to spell it: in quotes only where it needs them.
pub(crate) fn identifier(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    if is_plain && !is_keyword(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// The statement, normalised, with another name for every token that is `old`.
pub(crate) fn with_name(sql: &str, old: &str, new: &str) -> String {
    let mut all = tokens(sql);
    for token in &mut all {
        if token.text == old.to_lowercase() {
            token.text = new.to_lowercase();
            token.quoted = true;
        }
    }
    join(&all)
}

/// Keywords that are names too where no keyword can stand.
const OTHER_KEYWORDS: &[&str] = &[
    "after", "asc", "before", "begin", "desc", "each", "for", "glob", "instead", "like", "of", "row", "trigger", "view",
];

/// Words that SQLite does not take for a name. Source: SQLite's grammar, the tokens without a fallback to ID.
fn is_keyword(word: &str) -> bool {
    const RESERVED: &[&str] = &[
        "add",
        "all",
        "alter",
        "and",
        "as",
        "autoincrement",
        "between",
        "case",
        "check",
        "collate",
        "commit",
        "constraint",
        "create",
        "default",
        "deferrable",
        "delete",
        "distinct",
        "drop",
        "else",
        "end",
        "escape",
        "except",
        "exists",
        "foreign",
        "from",
        "group",
        "having",
        "in",
        "index",
        "insert",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "limit",
        "not",
        "nothing",
        "notnull",
        "null",
        "on",
        "or",
        "order",
        "primary",
        "references",
        "returning",
        "select",
        "set",
        "table",
        "then",
        "to",
        "transaction",
        "union",
        "unique",
        "update",
        "using",
        "values",
        "when",
        "where",
    ];
    RESERVED.contains(&word.to_lowercase().as_str())
}

/// What a `CREATE TABLE` says beyond the pragmas.
#[derive(Debug, Default)]
pub(crate) struct TableClauses {
    /// Every CHECK expression, normalised, in the order of the statement.
    pub(crate) checks: Vec<String>,
    /// Column → expression of a generated column.
    pub(crate) generated: Vec<(String, String)>,
    /// `ON CONFLICT …` and `DEFERRABLE …` clauses with the start of their definition.
    pub(crate) others: Vec<String>,
    /// Whether AUTOINCREMENT stands in a column definition.
    pub(crate) autoincrement: bool,
}

/// Reads the clauses of a `CREATE TABLE` statement.
pub(crate) fn table_clauses(sql: &str) -> TableClauses {
    let all = tokens(sql);
    let mut found = TableClauses::default();
    for definition in list_in_first_parentheses(&all) {
        read_definition(definition, &mut found);
    }
    found
}

/// The indexed expressions and the partial condition of a `CREATE INDEX` statement.
pub(crate) fn index_clauses(sql: &str) -> (Vec<String>, Option<String>) {
    let all = tokens(sql);
    let expressions = list_in_first_parentheses(&all).into_iter().map(join).collect();
    let condition = all
        .iter()
        .position(|token| token.is("("))
        .map(|open| closing(&all, open))
        .and_then(|close| all.get(close + 1..))
        .filter(|rest| rest.first().is_some_and(|token| token.is("where")))
        .map(|rest| join(&rest[1..]));
    (expressions, condition)
}

fn read_definition(definition: &[Token], found: &mut TableClauses) {
    const CONSTRAINTS: [&str; 5] = ["constraint", "primary", "unique", "check", "foreign"];
    let Some(first) = definition.first() else { return };
    let is_column = !CONSTRAINTS.iter().any(|word| first.is(word));
    let head = |at: usize| join(&definition[..at.min(8)]);
    let mut at = usize::from(is_column);
    while at < definition.len() {
        let token = &definition[at];
        let next = definition.get(at + 1);
        if token.is("(") {
            at = closing(definition, at);
        } else if next.is_some_and(|next| next.is("(")) && (token.is("check") || (token.is("as") && is_column)) {
            let close = closing(definition, at + 1);
            let inside = join(without_parentheses(&definition[at + 2..close.max(at + 2)]));
            if token.is("check") {
                found.checks.push(inside);
            } else {
                found.generated.push((first.text.clone(), inside));
            }
            at = close;
        } else if token.is("autoincrement") {
            found.autoincrement = true;
        } else if token.is("on") && next.is_some_and(|next| next.is("conflict")) {
            let action = definition.get(at + 2).map_or("", |token| token.text.as_str());
            // ABORT is what happens anyhow.
            if action != "abort" {
                found.others.push(format!("{} on conflict {action}", head(at)));
            }
        } else if is_deferred(definition, at) {
            found.others.push(format!("{} deferrable initially deferred", head(at)));
        }
        at += 1;
    }
}

/// Whether a foreign key is deferred from here on; all other clauses of deferral mean "at once", as without one.
fn is_deferred(definition: &[Token], at: usize) -> bool {
    let words = ["deferrable", "initially", "deferred"];
    let said = words
        .iter()
        .zip(&definition[at..])
        .filter(|(word, token)| token.is(word));
    said.count() == words.len() && !(at > 0 && definition[at - 1].is("not"))
}

/// The expression inside parentheses that enclose all of it.
fn without_parentheses(mut expression: &[Token]) -> &[Token] {
    while expression.len() > 2 && expression[0].is("(") && closing(expression, 0) == expression.len() - 1 {
        expression = &expression[1..expression.len() - 1];
    }
    expression
}

/// The comma-separated parts of the first parenthesis.
fn list_in_first_parentheses(all: &[Token]) -> Vec<&[Token]> {
    let Some(open) = all.iter().position(|token| token.is("(")) else {
        return Vec::new();
    };
    let close = closing(all, open);
    let (mut parts, mut start, mut at) = (Vec::new(), open + 1, open + 1);
    while at < close {
        if all[at].is("(") {
            at = closing(all, at);
        } else if all[at].is(",") {
            parts.push(&all[start..at]);
            start = at + 1;
        }
        at += 1;
    }
    parts.push(&all[start.min(close)..close]);
    parts
}

/// Position of the parenthesis that closes the one at `open`; the last token when it is not closed.
fn closing(all: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in all.iter().enumerate().skip(open) {
        if token.is("(") {
            depth += 1;
        } else if token.is(")") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    all.len().saturating_sub(1).max(open)
}

fn join(tokens: &[Token]) -> String {
    let words: Vec<String> = tokens
        .iter()
        .map(|token| {
            let plain = token.text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
            if token.quoted && !plain {
                format!("\"{}\"", token.text.replace('"', "\"\""))
            } else {
                token.text.clone()
            }
        })
        .collect();
    words.join(" ")
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut all = all_tokens(sql);
    all.retain(|token| !token.is(";"));
    all
}

fn all_tokens(sql: &str) -> Vec<Token> {
    let chars: Vec<char> = sql.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        at = match chars[at] {
            c if c.is_whitespace() => at + 1,
            '-' if chars.get(at + 1) == Some(&'-') => skip_until(&chars, at, &['\n']),
            '/' if chars.get(at + 1) == Some(&'*') => skip_until(&chars, at + 2, &['*', '/']),
            '\'' => literal(&chars, at, &mut found),
            '"' => name(&chars, at, '"', &mut found),
            '`' => name(&chars, at, '`', &mut found),
            '[' => name(&chars, at, ']', &mut found),
            c if c.is_alphanumeric() || c == '_' || c == '$' => word(&chars, at, &mut found),
            _ => symbol(&chars, at, &mut found),
        };
    }
    found
}

fn skip_until(chars: &[char], from: usize, end: &[char]) -> usize {
    (from..chars.len())
        .find(|at| chars[*at..].starts_with(end))
        .map_or(chars.len(), |at| at + end.len())
}

/// A string literal keeps its quotes; a doubled quote inside stays doubled.
fn literal(chars: &[char], from: usize, found: &mut Vec<Token>) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        if chars[at] == '\'' && chars.get(at + 1) == Some(&'\'') {
            at += 1;
        } else if chars[at] == '\'' {
            break;
        }
        at += 1;
    }
    let end = (at + 1).min(chars.len());
    push(found, chars[from..end].iter().collect(), false);
    end
}

fn name(chars: &[char], from: usize, close: char, found: &mut Vec<Token>) -> usize {
    let (mut at, mut text) = (from + 1, String::new());
    while at < chars.len() {
        if chars[at] == close {
            if close != ']' && chars.get(at + 1) == Some(&close) {
                at += 1;
            } else {
                break;
            }
        }
        text.push(chars[at]);
        at += 1;
    }
    push(found, text.to_lowercase(), true);
    at + 1
}

fn word(chars: &[char], from: usize, found: &mut Vec<Token>) -> usize {
    let is_number = chars[from].is_ascii_digit();
    let belongs = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || (is_number && c == '.');
    let end = (from..chars.len())
        .find(|at| !belongs(chars[*at]))
        .unwrap_or(chars.len());
    let text: String = chars[from..end].iter().collect();
    push(found, text.to_lowercase(), false);
    end
}

fn symbol(chars: &[char], from: usize, found: &mut Vec<Token>) -> usize {
    const LONG: [&str; 10] = ["->>", "||", "<=", ">=", "<>", "!=", "==", "<<", ">>", "->"];
    let long = LONG
        .iter()
        .find(|symbol| chars[from..].iter().copied().take(symbol.len()).eq(symbol.chars()));
    let text = long.map_or_else(|| chars[from].to_string(), |symbol| (*symbol).to_owned());
    let end = from + text.chars().count();
    push(found, text, false);
    end
}

fn push(found: &mut Vec<Token>, text: String, quoted: bool) {
    found.push(Token { text, quoted });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_white_space_and_case_of_names_do_not_matter() {
        assert_eq!(
            normalised("CREATE  table \"A\" ( x -- note\n TEXT /* more */ DEFAULT 'It''s' );"),
            normalised("create table a(X text default 'It''s')")
        );
    }

    #[test]
    fn the_case_of_a_literal_matters() {
        assert_ne!(normalised("CHECK (x = 'A')"), normalised("CHECK (x = 'a')"));
    }

    #[test]
    fn checks_of_columns_and_of_the_table_are_found() {
        let clauses = table_clauses(
            "CREATE TABLE t (a TEXT CHECK(a IN ('x', 'y')), b INT AS (a || 'z') STORED, \"check\" INT, CHECK (b > 0 AND (a <> '')))",
        );
        assert_eq!(clauses.checks, ["a in ( 'x' , 'y' )", "b > 0 and ( a <> '' )"]);
        assert_eq!(clauses.generated, [("b".to_owned(), "a || 'z'".to_owned())]);
    }

    #[test]
    fn the_condition_of_a_partial_index_is_found() {
        let (columns, condition) = index_clauses("CREATE INDEX i ON t(lower(a), b DESC) WHERE b IS NOT NULL");
        assert_eq!(columns, ["lower ( a )", "b desc"]);
        assert_eq!(condition.as_deref(), Some("b is not null"));
    }

    #[test]
    fn broken_text_is_read_without_panic() {
        for sql in [
            "CREATE TABLE t (a CHECK (",
            "'",
            "\"",
            "CREATE TABLE t",
            ")",
            "[",
            "(,,)",
        ] {
            let _ = table_clauses(sql);
            let _ = index_clauses(sql);
        }
    }
}
