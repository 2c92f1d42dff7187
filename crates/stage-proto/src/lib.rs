//! Generated protobuf and gRPC code of STAGE's wire protocols
