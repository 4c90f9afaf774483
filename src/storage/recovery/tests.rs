//! Hand-made directories and what opening them gives.
