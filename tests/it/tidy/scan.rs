//! Source text with everything that is not code blanked out.
//!
//! The checks of `tidy` read it, so that a brace in a string or a path in a comment misleads none.
//!
//! Invariant: characters keep their line and column; only what they say is gone.
//!
//! It is no parser: it knows comments, literals and braces, and nothing of the grammar.

/// Replaces comments, strings and character literals by spaces, line breaks excepted.
pub(crate) fn blank(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let end = literal_end(&text, at);
        if end == at {
            out.push(text[at]);
            at += 1;
        } else {
            out.extend(
                text[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// The place of the brace that closes the one at `open`, in blanked text.
pub(crate) fn closing(text: &[char], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, &c) in text.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The line number, from 1, of a place in the text.
pub(crate) fn line_of(text: &[char], at: usize) -> usize {
    1 + text[..at].iter().filter(|&&c| c == '\n').count()
}

/// Whether a character may stand inside a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All places where `word` stands alone in the text.
pub(crate) fn words<'t>(text: &'t [char], word: &'t str) -> impl Iterator<Item = usize> + 't {
    let wanted: Vec<char> = word.chars().collect();
    let length = wanted.len();
    (0..text.len()).filter(move |&at| {
        text[at..].starts_with(&wanted)
            && !(at > 0 && is_word(text[at - 1]))
            && !text.get(at + length).copied().is_some_and(is_word)
    })
}

/// The first place from `at` on that is not white space.
pub(crate) fn skip_space(text: &[char], at: usize) -> usize {
    (at..text.len())
        .find(|&i| !text[i].is_whitespace())
        .unwrap_or(text.len())
}

/// The name that starts at `at`, or nothing.
pub(crate) fn name_at(text: &[char], at: usize) -> String {
    text.iter().skip(at).take_while(|&&c| is_word(c)).collect()
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => (at..text.len())
            .find(|&i| text[i] == '\n')
            .unwrap_or(text.len()),
        '/' if next == Some('*') => block_comment_end(text, at),
        '"' => string_end(text, at),
        '\'' => char_end(text, at),
        'r' | 'b' | 'c' if at == 0 || !is_word(text[at - 1]) => prefixed_end(text, at),
        _ => at,
    }
}

/// Block comments nest.
fn block_comment_end(text: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < text.len() {
        match (text[i], text.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    text.len()
}

fn string_end(text: &[char], quote: usize) -> usize {
    let mut i = quote + 1;
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// `'a'` and `'\n'` are literals, `'a` is a lifetime.
fn char_end(text: &[char], quote: usize) -> usize {
    match (text.get(quote + 1), text.get(quote + 2)) {
        (Some('\\'), Some(_)) => {
            let close = (quote + 3..text.len()).find(|&i| text[i] == '\'');
            close.map_or(text.len(), |i| i + 1)
        }
        (Some(_), Some('\'')) => quote + 3,
        _ => quote,
    }
}

/// `r"..."`, `r#"..."#`, `b"..."`, `b'.'`, `br"..."`, `c"..."`; a mere name starting so is none.
fn prefixed_end(text: &[char], at: usize) -> usize {
    let mut i = at + usize::from(text[at] != 'r');
    match text.get(i) {
        Some('"') if text[at] != 'r' => return string_end(text, i),
        Some('\'') if text[at] == 'b' => return char_end(text, i),
        Some('r') => i += 1,
        _ => return at,
    }
    let hashes = text.iter().skip(i).take_while(|&&c| c == '#').count();
    if text.get(i + hashes) != Some(&'"') {
        return at;
    }
    let body = i + hashes + 1;
    let close = (body..text.len()).find(|&q| {
        text[q] == '"' && text.iter().skip(q + 1).take_while(|&&c| c == '#').count() >= hashes
    });
    close.map_or(text.len(), |q| q + 1 + hashes)
}

#[test]
fn blanking_hides_literals_and_comments_and_nothing_else() {
    for (source, left) in [
        (r#"a("{") b"#, "a(   ) b"),
        (r#"a("\"{") b"#, "a(     ) b"),
        ("r#\"{\" \"# b", "         b"),
        ("br\"{\\\" b", "       b"),
        ("'{' b", "    b"),
        ("'\\'' '\\u{7d}' b", "              b"),
        ("b'{' b\"{\" c", "          c"),
        ("fn f<'a>(x: &'a str) {", "fn f<'a>(x: &'a str) {"),
        ("x // {\ny", "x     \ny"),
        ("x /* { /* } */ { */ y", "x                   y"),
        ("r#type + barr + b", "r#type + barr + b"),
    ] {
        assert_eq!(blank(source).trim_end(), left, "{source}");
        assert_eq!(
            blank(source).chars().count(),
            source.chars().count(),
            "{source}"
        );
    }
}
