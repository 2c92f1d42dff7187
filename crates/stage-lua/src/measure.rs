//! What the benchmarks of this crate reach of its inside. No part of its API.

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, MultiValue, Value as LuaValue};
use stage_value::Value;

use crate::convert::{Packer, Unpacker};
use crate::services::{Options, Parts, Services};
use crate::vm::Local;
use crate::worker::Workers;
use crate::{Script, StartError};

/// A VM that no thread serves.
pub struct Bare {
    lua: Lua,
    local: Rc<Local>,
}

impl Bare {
    /// Opens a VM. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The VM's own.
    pub fn open(options: Options, parts: Parts) -> mlua::Result<Self> {
        let workers = Arc::new(Workers::new(&options, parts.route.meter_of("workers", 1)));
        let tokio = tokio::runtime::Handle::current();
        let services = Services::new(parts, workers, tokio).map_err(mlua::Error::external)?;
        let services = Arc::new(services);
        let (lua, local) = Local::open(services, Arc::new(options), None)?;
        Ok(Self { lua, local })
    }

    /// What a script returns.
    ///
    /// # Errors
    /// What it raises.
    pub fn run(&self, script: &Script) -> Result<LuaValue, StartError> {
        let run = || self.local.compile(&self.lua, script)?.call(());
        run().map_err(|error: mlua::Error| StartError::Script { message: error.to_string() })
    }

    /// Values as they leave the VM; `None` if they cannot.
    #[must_use]
    pub fn pack(&self, values: MultiValue) -> Option<Vec<Value>> {
        Packer::new(&self.lua, &self.local, self.local.options.values).pack("args", values).ok()
    }

    /// Values as they come into the VM.
    ///
    /// # Errors
    /// The VM's own.
    pub fn unpack(&self, values: Vec<Value>) -> mlua::Result<MultiValue> {
        Unpacker::new(&self.lua, &self.local).unpack_all(values)
    }

    /// A shared value as a script reads it: where it is.
    ///
    /// # Errors
    /// The VM's own.
    pub fn show(&self, value: &Value) -> mlua::Result<LuaValue> {
        self.local.views.show(&self.lua, value)
    }
}
