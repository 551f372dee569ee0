//! What is sent to one service: a letter with a typed reply.
//!
//! Users implement [`Message`]; addresses and mailboxes carry it. It calls nothing.
//!
//! Invariant: a message belongs to exactly one service, which consumes it.
//!
//! It says nothing about how the letter travels, or whether its sender waits.

use crate::event::Key;

/// A letter to one service: `tell` sends it; `ask` sends it and waits for the [`Reply`]. It is
/// handled at most once.
///
/// ```
/// use callboard::Message;
///
/// struct Revenue;
///
/// impl Message for Revenue {
///     type Reply = u64;
/// }
/// ```
///
/// If the service may refuse, make the refusal part of the reply, such as
/// `type Reply = Result<Receipt, Declined>`.
///
/// [`Reply`]: Message::Reply
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "this type does not implement `Message`",
    note = "a message names its reply: `impl Message for {Self}` with `type Reply = ()` or another",
    note = "a message moves to the thread of its service, so it must be `Send + 'static`"
)]
pub trait Message: Send + 'static {
    /// What the service answers.
    type Reply: Send + 'static;

    /// What the message is about; messages with equal keys keep their order among workers.
    /// [`Key::None`] unless overridden.
    fn key(&self) -> Key {
        Key::None
    }
}
