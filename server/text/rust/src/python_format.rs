//! Values as Python prints them: json.dumps for the `tojson` filter and repr for floats.
//! https://docs.python.org/3/library/json.html#json.dumps

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

/// repr(float): the shortest digits that come back, an exponent below -4 and from 16 on.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("Rust writes an exponent");
    let exponent: i32 = exponent.parse().expect("Rust writes a number");
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

struct Style {
    ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

/// tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False), as transformers
/// defines it.
pub fn tojson(value: &Value, ensure_ascii: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "Object of type Undefined is not JSON serializable",
        ));
    }
    let ascii = match ensure_ascii {
        Some(value) => value.is_true(),
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(width) if width.kind() == ValueKind::Number => {
            let width = usize::try_from(width)?;
            if width > 64 {
                return Err(Error::new(ErrorKind::InvalidOperation, "tojson indents by at most 64"));
            }
            Some(" ".repeat(width))
        }
        Some(text) if text.kind() == ValueKind::String => Some(text.to_string()),
        _ => None,
    };
    let mut style = Style {
        ascii,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        item_separator: if indent.is_some() { "," } else { ", " }.to_string(),
        key_separator: ": ".to_string(),
        indent,
    };
    if let Some(separators) = options.get::<Option<Vec<String>>>("separators")? {
        let [item, key]: [String; 2] = separators.try_into().map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, "tojson's separators are a pair of strings")
        })?;
        style.item_separator = item;
        style.key_separator = key;
    }
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, format!("tojson: {error}")))?;
    let mut text = String::new();
    style.write(&json, 0, &mut text);
    Ok(Value::from(text))
}

impl Style {
    fn write(&self, value: &Json, depth: usize, out: &mut String) {
        match value {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => out.push_str(&float_repr(float)),
                _ => out.push_str(&number.to_string()),
            },
            Json::String(text) => self.write_string(text, out),
            Json::Array(items) => self.write_members('[', ']', items.iter(), depth, out, |item, out| {
                self.write(item, depth + 1, out);
            }),
            Json::Object(members) => {
                let mut members: Vec<(&String, &Json)> = members.iter().collect();
                if self.sort_keys {
                    members.sort_by_key(|(key, _)| *key);
                }
                self.write_members('{', '}', members.into_iter(), depth, out, |(key, value), out| {
                    self.write_string(key, out);
                    out.push_str(&self.key_separator);
                    self.write(value, depth + 1, out);
                });
            }
        }
    }

    fn write_members<T>(
        &self,
        open: char,
        close: char,
        members: impl ExactSizeIterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String),
    ) {
        out.push(open);
        let empty = members.len() == 0;
        for (nth, member) in members.enumerate() {
            if nth > 0 {
                out.push_str(&self.item_separator);
            }
            self.new_line(depth + 1, out);
            write(member, out);
        }
        if !empty {
            self.new_line(depth, out);
        }
        out.push(close);
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                // A guard (added_tokens.rs) must stay one character to be found again.
                '\u{e000}'..='\u{e0ff}' => out.push(c),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
