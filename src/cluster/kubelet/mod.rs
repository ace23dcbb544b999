//! Simulated nodes: what kubelets do, as pure functions of (memory, view, now), and a driver that lets them serve a
//! real API server.

pub mod behaviour;
pub mod cache;
pub mod container;
pub mod driver;
pub mod memory;
pub mod node;
pub mod pod;
pub mod requirements;
pub mod status;
pub mod timeline;

pub use driver::{DriverError, SimulatedNodes};
pub use memory::Memory;
pub use node::Nodes;
