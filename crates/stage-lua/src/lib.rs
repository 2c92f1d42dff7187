//! Lua handlers on thread-owned VMs that cannot stall the service
