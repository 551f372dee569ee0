//! Event-driven services inside one binary.
