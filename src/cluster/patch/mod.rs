//! Patches as functions of values: JSON patch, merge patch, strategic merge patch. Pure.

pub mod json;
pub mod strategic;
