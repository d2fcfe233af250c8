//! Load generation.

fn main() {}
