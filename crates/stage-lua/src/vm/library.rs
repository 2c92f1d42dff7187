use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use mlua::{Error, Table, Value as LuaValue};

/// The names of the parts of the base library, by their place in this VM.
///
/// A function that captured `table.insert` travels with that name, not with the function.
pub(crate) struct Library {
    names: HashMap<*const c_void, Arc<str>>,
    base: Table,
}

impl Library {
    /// Names what stands in the given tables of globals; the first is where names are looked up.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn new(base: Table, others: &[Table]) -> mlua::Result<Self> {
        let mut names = HashMap::new();
        for globals in others.iter().chain([&base]) {
            name_parts(&mut names, globals)?;
        }
        let mut library = Self { names, base };
        library.name_views()?;
        Ok(library)
    }

    /// Names the sandbox's own views of tables within the library.
    fn name_views(&mut self) -> mlua::Result<()> {
        let within: Vec<_> =
            self.names.values().filter(|name| name.contains('.')).cloned().collect();
        for name in within {
            if let Ok(LuaValue::Table(view)) = self.value(&name) {
                self.names.insert(view.to_pointer(), name);
            }
        }
        Ok(())
    }

    /// The dotted name of a function or table of the library.
    pub(crate) fn name(&self, value: *const c_void) -> Option<Arc<str>> {
        self.names.get(&value).cloned()
    }

    /// What a dotted name stands for in the sandbox.
    ///
    /// # Errors
    /// An error that names it if the sandbox has no such part.
    pub(crate) fn value(&self, name: &str) -> mlua::Result<LuaValue> {
        let mut value = LuaValue::Table(self.base.clone());
        for part in name.split('.') {
            value = match value {
                LuaValue::Table(table) => table.get(part)?,
                _ => LuaValue::Nil,
            };
        }
        if value.is_nil() {
            return Err(Error::runtime(format!("a sandboxed function cannot use {name}")));
        }
        Ok(value)
    }
}

fn name_parts(names: &mut HashMap<*const c_void, Arc<str>>, globals: &Table) -> mlua::Result<()> {
    globals.for_each(|name: String, value: LuaValue| {
        if let LuaValue::Table(table) = &value
            && name != "_G"
        {
            table.for_each(|part: String, value: LuaValue| {
                if value.is_function() || value.is_table() {
                    names.insert(value.to_pointer(), format!("{name}.{part}").into());
                }
                Ok(())
            })?;
        }
        if value.is_table() && name != "_G" || value.is_function() {
            names.insert(value.to_pointer(), name.into());
        }
        Ok(())
    })
}
