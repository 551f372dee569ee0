//! What one process found out: a number, words in its place, or that it failed.
//!
//! Contenders return it, the child process prints it, and the runner reads it back.
//!
//! Invariant: what is printed is read back as the same sample.
//!
//! It knows nothing of units.

/// The result of one contender at one workload, once.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A measured figure, and what has to be said about it.
    Number(f64, String),
    /// No figure, but the reason why there is none, or a result that is not a figure.
    Words(String),
    /// It should have worked and did not.
    Failed(String),
}

impl Sample {
    pub fn words(words: impl Into<String>) -> Self {
        Sample::Words(words.into())
    }

    /// Says something about the figure, such as that there is no bound.
    pub fn noted(self, note: &str) -> Self {
        match self {
            Sample::Number(number, _) => Sample::Number(number, note.to_owned()),
            other => other,
        }
    }

    pub fn to_line(&self) -> String {
        match self {
            Sample::Number(number, note) => format!("number\t{number}\t{note}"),
            Sample::Words(words) => format!("words\t{words}"),
            Sample::Failed(why) => format!("failed\t{why}"),
        }
    }

    pub fn from_line(line: &str) -> Self {
        let parts: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
        match parts[..] {
            ["number", number, note] => match number.parse() {
                Ok(number) => Sample::Number(number, note.to_owned()),
                Err(_) => Sample::Failed(format!("not a number: {number}")),
            },
            ["words", words] => Sample::words(words),
            ["failed", why] => Sample::Failed(why.to_owned()),
            _ => Sample::Failed(format!("not a sample: {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_sample_is_read_back() {
        let samples = [
            Sample::Number(12.5, "unbounded".to_owned()),
            Sample::Number(3.0, String::new()),
            Sample::words("never"),
            Sample::Failed("no time left".to_owned()),
        ];
        for sample in samples {
            assert_eq!(Sample::from_line(&sample.to_line()), sample);
        }
        assert!(matches!(
            Sample::from_line("number\tx\t"),
            Sample::Failed(_)
        ));
        assert!(matches!(Sample::from_line(""), Sample::Failed(_)));
    }
}
