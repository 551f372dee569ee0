//! One file per contender: knowing one is knowing all.

pub mod actix;
pub mod callboard;
pub mod crossbeam;
pub mod kameo;
pub mod kanal;
pub mod ractor;
pub mod stakker;
pub mod tokio;
pub mod xtra;
