//! What the embedded cluster makes of the types of objects: the OpenAPI documents, and protobuf. Pure.

pub mod openapi;
pub mod openapi_protobuf;
pub mod protobuf;
