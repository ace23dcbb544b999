//! The scheduler of the embedded cluster: which node each pod gets, and why none does.

pub mod filter;
pub mod place;
mod topology;
pub mod volumes;

pub use place::run;
