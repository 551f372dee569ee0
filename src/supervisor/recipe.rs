//! The one recipe from which a dynamic supervisor makes its children.
//!
//! Users write it; the supervisor's actor calls it for every child that is asked for.
//!
//! Invariant: a panic in it, or an argument of another type, makes no child and is told to whoever
//! asked.
//!
//! It starts nothing.

use std::any::{Any, type_name};
use std::fmt;

use super::Child;
use crate::panic::{Frail, Panic, guard};

/// What a child is made from, its type no longer known.
pub(crate) struct Argument {
    value: Box<dyn Any + Send>,
    name: &'static str,
}

impl Argument {
    pub(crate) fn new<A: Send + 'static>(argument: A) -> Self {
        Argument {
            value: Box::new(argument),
            name: type_name::<A>(),
        }
    }
}

/// Why a recipe made no child.
pub(crate) enum Spoiled {
    /// It takes another type.
    WrongArgument {
        expected: &'static str,
        found: &'static str,
    },
    Panicked(Panic),
}

type Make = Box<dyn FnMut(Box<dyn Any + Send>) -> Option<Child> + Send>;

pub(crate) struct Recipe {
    make: Make,
    expected: &'static str,
}

impl Recipe {
    pub(crate) fn new<A: Send + 'static, C: Into<Child>>(
        recipe: impl FnMut(A) -> C + Send + 'static,
    ) -> Self {
        let mut recipe = Frail::new(recipe);
        let make = move |argument: Box<dyn Any + Send>| {
            let argument = argument.downcast::<A>().ok()?;
            Some(recipe(*argument).into())
        };
        Recipe {
            make: Box::new(make),
            expected: type_name::<A>(),
        }
    }

    pub(crate) fn make(&mut self, argument: Argument) -> Result<Child, Spoiled> {
        let Argument { value, name } = argument;
        match guard(|| (self.make)(value)) {
            Ok(Some(child)) => Ok(child),
            Ok(None) => Err(Spoiled::WrongArgument {
                expected: self.expected,
                found: name,
            }),
            Err(panic) => Err(Spoiled::Panicked(panic)),
        }
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipe({})", self.expected)
    }
}
