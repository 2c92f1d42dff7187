//! The STAGE node: configuration, composition and the operator's command line
