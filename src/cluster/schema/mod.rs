//! Types of objects: the table of the built-in kinds, decoding by type, and the OpenAPI documents made from it. Pure.

pub mod decode;
pub mod openapi;
pub mod openapi_protobuf;
pub mod protobuf;
pub mod quantity;
pub mod types;

pub use types::{Atom, Field, List, ListKind, Map, Scalar, TypeId, Types};
