//! Letters of one type to one service, as its mailbox keeps them.
//!
//! Addresses add to them; the life has the first answered where it is, or takes it out.
//!
//! Invariant: a letter leaves once: answered, handed out by itself, or abandoned.
//!
//! It does not say when.

use std::any::Any;

use crate::mailbox::bundle::{AnyBundle, Bundle, Bundled};
use crate::service::letter::{Answering, AnyLetter, Enclosed, Sealed};
use crate::service::pile::Pile;
use crate::service::{Context, Service};

/// Letters of one type whose message is not known here.
pub(crate) trait Mail<S: Service>: Any + Send {
    fn is_small(&self) -> bool;
    /// The number of the first.
    fn number(&self) -> Option<u64>;
    fn first(&self) -> Option<&(dyn AnyLetter<S> + 'static)>;
    /// How the first is answered.
    fn how(&self) -> How<S>;
    /// Takes out the first.
    fn take_out(&mut self) -> Option<Sealed<S>>;
}

/// Has the first letter of a pile answered, and the like of it that is next; `None` if the pile
/// has another one.
pub(crate) type How<S> =
    for<'a> fn(Pile<'a, S>, &'a mut S, &'a mut Context<S>) -> Option<Answering<'a>>;

fn answer_first<'a, S: Service, L: Enclosed<S>>(
    mut pile: Pile<'a, S>,
    service: &'a mut S,
    cx: &'a mut Context<S>,
) -> Option<Answering<'a>> {
    let letter = pile.take::<L>()?;
    Some(letter.answer_from(pile, service, cx))
}

impl<S: Service, L: Enclosed<S>> Mail<S> for Bundle<L> {
    fn is_small(&self) -> bool {
        self.is_small()
    }

    fn number(&self) -> Option<u64> {
        self.first().map(L::number)
    }

    fn first(&self) -> Option<&(dyn AnyLetter<S> + 'static)> {
        self.first().map(L::show)
    }

    fn how(&self) -> How<S> {
        answer_first::<S, L>
    }

    fn take_out(&mut self) -> Option<Sealed<S>> {
        self.pop().map(L::seal)
    }
}

impl<S: Service, L: Enclosed<S>> Bundled<dyn Mail<S>> for L {
    fn wrap(bundle: Box<Bundle<Self>>) -> Box<dyn Mail<S>> {
        bundle
    }

    fn among(mail: &mut dyn Mail<S>) -> Option<&mut Bundle<Self>> {
        let mail: &mut dyn Any = mail;
        mail.downcast_mut()
    }

    fn enter(&mut self, number: u64) {
        Enclosed::enter(self, number);
    }
}

impl<S: Service> AnyBundle for dyn Mail<S> {
    type Item = Sealed<S>;

    fn head(&self) -> Option<u64> {
        self.number()
    }

    fn take(&mut self) -> Option<Sealed<S>> {
        self.take_out()
    }

    fn is_small(&self) -> bool {
        Mail::is_small(self)
    }
}
