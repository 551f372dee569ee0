//! Why handling an event or answering a letter went wrong.
//!
//! Handlers return it through `?`; verdicts read it; dead letters and exits keep it. It calls only
//! [`guard`](crate::panic).
//!
//! Invariant: whatever the user's error does when it is shown or dropped, a [`Failure`] does not
//! panic.
//!
//! It decides nothing: what follows from a failure is the policy's business.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::panic::guard;

/// What a handler returns: nothing (or an answer), or the [`Failure`] the policy should act on.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why handling failed: any error, made by `?`, and cheap to clone.
///
/// It is not an [`Error`] itself, because then `?` could not make it from every error; but `?`
/// turns it into a `Box<dyn Error>`. `{}` shows the error, `{:#}` all its causes as well.
///
/// An error that is not `Send + Sync`, such as an [`AskError`](crate::AskError) with a message that
/// is not `Sync`, needs `.map_err(|error| Failure::new(error.to_string()))`. A boxed error, or an
/// `anyhow::Error`, needs `.map_err(|error| Failure::boxed(error.into()))`.
///
/// ```
/// use callboard::{Failure, Outcome};
///
/// fn parse(text: &str) -> Outcome<u64> {
///     if text.is_empty() {
///         return Err(Failure::permanent("nothing to parse"));
///     }
///     Ok(text.parse()?)
/// }
///
/// assert!(parse("").unwrap_err().is_permanent());
/// assert!(parse("x").unwrap_err().is::<std::num::ParseIntError>());
/// ```
#[derive(Clone)]
pub struct Failure {
    // One pointer, so that an `Outcome` stays small on the path where nothing fails.
    inner: Arc<Inner>,
}

impl Failure {
    /// Makes a failure that consists of a text alone.
    pub fn new(text: impl Into<String>) -> Self {
        Self::from(Text(text.into()))
    }

    /// Makes a failure after which trying again cannot help, from an error or a text: there is no
    /// further attempt.
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::boxed(error.into()).into_permanent()
    }

    /// Makes a failure from a boxed error, which `?` cannot convert.
    pub fn boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(error) => Self::made(Arc::from(error), false, None),
        }
    }

    /// Marks it as permanent: trying again cannot help. Clones made before are not marked.
    #[must_use]
    pub fn into_permanent(self) -> Self {
        match &self.inner.error {
            Some(error) if !self.inner.permanent => Self::made(Arc::clone(error), true, None),
            _ => self,
        }
    }

    /// Sets how long to wait before the next attempt, in place of the policy's backoff (365 days at
    /// most); for errors that come with an answer such as "try again in 30 s". Clones made before
    /// are not changed.
    ///
    /// The policy still decides whether there is a next attempt. After a crash, and where a timeout
    /// restarts the service, there is no delay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use callboard::Failure;
    ///
    /// let busy = Failure::new("too many requests").retry_after(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        match &self.inner.error {
            Some(error) => Self::made(Arc::clone(error), self.inner.permanent, Some(delay)),
            None => self,
        }
    }

    /// How long it says to wait before the next attempt.
    pub(crate) fn delay_wanted(&self) -> Option<Duration> {
        self.inner.delay
    }

    /// Whether it is permanent, so that the failure policy applies at once.
    pub fn is_permanent(&self) -> bool {
        self.inner.permanent
    }

    /// Whether the error itself (not one of its causes) is a `T`.
    pub fn is<T: Error + 'static>(&self) -> bool {
        self.error().is::<T>()
    }

    /// Returns the error itself, if it is a `T`.
    pub fn downcast_ref<T: Error + 'static>(&self) -> Option<&T> {
        self.error().downcast_ref()
    }

    /// Returns the error itself, unguarded: if its `Display` panics, that panic is the caller's.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        match &self.inner.error {
            Some(error) => &**error,
            None => &Gone,
        }
    }

    /// Returns the error's own cause, if it names one.
    pub fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error().source()
    }

    /// Returns the error and all its causes in words, whatever they do when they are shown.
    pub(crate) fn describe(&self) -> String {
        format!("{self:#}")
    }

    fn made(error: Arc<dyn Error + Send + Sync>, permanent: bool, delay: Option<Duration>) -> Self {
        Self {
            inner: Arc::new(Inner {
                error: Some(error),
                permanent,
                delay,
            }),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::made(Arc::new(error), false, None)
    }
}

impl From<Failure> for Box<dyn Error + Send + Sync> {
    fn from(failure: Failure) -> Self {
        Box::new(Carried(failure))
    }
}

impl From<Failure> for Box<dyn Error> {
    fn from(failure: Failure) -> Self {
        Box::new(Carried(failure))
    }
}

/// As its text, with that of its sources.
impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.describe())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = f.alternate();
        let text = guard(|| {
            if whole {
                chain(self.error())
            } else {
                self.error().to_string()
            }
        });
        f.write_str(text.as_deref().unwrap_or("(its Display panicked)"))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (error, pretty) = (self.error(), f.alternate());
        let text = guard(|| {
            if pretty {
                format!("{error:#?}")
            } else {
                format!("{error:?}")
            }
        });
        let text = text.as_deref().unwrap_or("(its Debug panicked)");
        let name = if self.is_permanent() {
            "Failure::permanent"
        } else {
            "Failure"
        };
        write!(f, "{name}({text})")
    }
}

struct Inner {
    /// Always there until `drop` takes it out, to drop it guarded.
    error: Option<Arc<dyn Error + Send + Sync>>,
    permanent: bool,
    delay: Option<Duration>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let error = self.error.take();
        // A panic in the drop of a user's error says nothing about the event: nobody is told.
        let _ = guard(move || drop(error));
    }
}

/// A failure on its way through a `Box<dyn Error>`; [`Failure::boxed`] takes it out again.
struct Carried(Failure);

impl Error for Carried {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[derive(thiserror::Error)]
#[error("{0}")]
struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The failure of an event whose deadline had passed when its turn came: it is given up without an
/// attempt, or without another one.
///
/// An attempt that is cut off by the deadline fails with [`TimedOut`](crate::TimedOut); if no time
/// is left for another attempt, the failure is that of the last one. In all these cases the reason
/// is [`DeadlinePassed`](crate::Reason::DeadlinePassed), unless another reason rules out a retry.
///
/// A policy finds it by `failure.is::<Overdue>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not handled within {limit:?} of its publication")]
#[non_exhaustive]
pub struct Overdue {
    /// The deadline, counted from publication.
    pub limit: Duration,
}

/// The failure of an event that is given up without an attempt, because its breaker is open and
/// makes [dead letters](crate::Breaker::dead_letters).
///
/// A policy finds it by `failure.is::<BreakerOpen>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not tried: the breaker is open")]
#[non_exhaustive]
pub struct BreakerOpen;

#[derive(Debug, thiserror::Error)]
#[error("(the error is gone)")]
struct Gone;

// 32: far more causes than anybody reads, and an end for an error that names itself its cause.
const CAUSES_SHOWN: usize = 32;

fn chain(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..CAUSES_SHOWN {
        let Some(cause) = next else { return text };
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("charging failed")]
    struct Charge(#[source] io::Error);

    struct Rude;
    impl Error for Rude {}
    impl fmt::Display for Rude {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no Display")
        }
    }
    impl fmt::Debug for Rude {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no Debug")
        }
    }
    impl Drop for Rude {
        fn drop(&mut self) {
            panic!("no Drop")
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("round")]
    struct Round;

    #[derive(Debug)]
    struct Loop;
    impl fmt::Display for Loop {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("loop")
        }
    }
    impl Error for Loop {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    fn charge() -> Outcome {
        Err(Charge(io::Error::other("the line is dead")))?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_a_failure_and_is_found_again() {
        let failure = charge().unwrap_err();
        assert!(failure.is::<Charge>() && !failure.is::<io::Error>());
        assert_eq!(
            failure.downcast_ref::<Charge>().unwrap().0.to_string(),
            "the line is dead"
        );
        assert_eq!(failure.source().unwrap().to_string(), "the line is dead");
        assert!(!failure.is_permanent());
    }

    #[test]
    fn the_plain_form_shows_the_error_and_the_alternate_form_its_causes() {
        let failure = charge().unwrap_err();
        assert_eq!(format!("{failure}"), "charging failed");
        assert_eq!(format!("{failure:#}"), "charging failed: the line is dead");
        assert_eq!(failure.describe(), "charging failed: the line is dead");
        assert_eq!(format!("{:?}", Failure::new("no")), "Failure(\"no\")");
        assert_eq!(format!("{:?}", Failure::from(Round)), "Failure(Round)");
    }

    #[test]
    fn a_permanent_failure_is_made_from_an_error_or_a_text_or_a_failure() {
        assert!(Failure::permanent(Round).is::<Round>());
        assert!(Failure::permanent(Round).is_permanent());
        assert_eq!(Failure::permanent("no").to_string(), "no");
        assert_eq!(Failure::permanent(format!("no {}", 7)).to_string(), "no 7");
        assert!(Failure::permanent(Failure::from(Round)).is::<Round>());
        let before = Failure::new("no");
        assert!(before.clone().into_permanent().is_permanent() && !before.is_permanent());
        assert_eq!(
            format!("{:?}", Failure::permanent(Round)),
            "Failure::permanent(Round)"
        );
    }

    #[test]
    fn a_failure_passes_through_a_boxed_error_unchanged() {
        let boxed: Box<dyn Error + Send + Sync> = Failure::permanent(Round).into();
        assert_eq!(boxed.to_string(), "round");
        let back = Failure::boxed(boxed);
        assert!(back.is::<Round>() && back.is_permanent());
        assert!(Failure::boxed(Box::new(Round)).is::<Round>());
        let plain: Box<dyn Error> = charge().unwrap_err().into();
        assert_eq!(plain.source().unwrap().to_string(), "the line is dead");
    }

    #[test]
    fn an_error_that_panics_whatever_is_asked_of_it_is_survived() {
        let failure = Failure::from(Rude);
        assert_eq!(failure.describe(), "(its Display panicked)");
        assert_eq!(failure.to_string(), "(its Display panicked)");
        assert_eq!(format!("{failure:?}"), "Failure((its Debug panicked))");
        let permanent = failure.clone().into_permanent();
        drop(failure);
        drop(permanent);
    }

    #[test]
    fn an_error_that_is_its_own_cause_is_shown_in_finite_time() {
        assert_eq!(
            Failure::from(Loop).describe().matches("loop").count(),
            CAUSES_SHOWN + 1
        );
    }

    #[test]
    fn an_outcome_is_one_pointer_wide() {
        assert_eq!(size_of::<Outcome>(), size_of::<usize>());
    }
}
