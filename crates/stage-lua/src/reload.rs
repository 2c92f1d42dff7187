//! Taking up changed files while a stage runs.
//!
//! A changed script is compiled and run aside, in the same VM and with its globals. Once it waits or ends, what it has
//! registered takes the place of what the script registered before, between two handlers. If it
//! fails, its globals are put back, and the handlers of before never knew.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::{Lua, Value as LuaValue};

use crate::api::module::Use;
use crate::error::ScriptFailure;
use crate::generation::{Alive, Generation};
use crate::instance::Instance;
use crate::run::{Run, execute};
use crate::script::Script;

impl Instance {
    /// Notes which file the script is, so that it is followed.
    pub(crate) fn use_script(&self, script: &Script) {
        if let Some(path) = &script.path {
            let version = self.local.services.files.adopt(path, script);
            self.local.modules.set_script(path, version);
        }
    }

    /// Takes up what changes, as long as the stage runs.
    pub(crate) async fn follow_files(self: Rc<Self>) {
        let mut changes = self.local.services.files.subscribe();
        // What has changed while the script began.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            let changed = self.local.modules.changed(|path| self.newest(path));
            if changed.iter().any(|(_, used)| used.is_part) {
                self.take_up_script(&changed).await;
            } else {
                for (_, used) in changed {
                    self.take_up_module(used).await;
                }
            }
        }
    }

    fn newest(&self, path: &Path) -> Option<u64> {
        self.local.services.files.version(path).map(|version| version.number)
    }

    /// Begins the script anew, or goes on with what there is.
    async fn take_up_script(self: &Rc<Self>, changed: &[(PathBuf, Use)]) {
        let names: Vec<_> = changed.iter().map(|(path, _)| path.display().to_string()).collect();
        let (stage, files) = (&self.home.stage, names.join(", "));
        let result = self.begin_anew().await;
        self.local.services.counters.reloaded(result.is_ok());
        match result {
            Ok(()) => tracing::info!(%stage, files, "taken up anew"),
            Err(failure) => {
                tracing::error!(%stage, files, "the new version fails, so the one before goes on: {failure}");
            }
        }
    }

    async fn begin_anew(self: &Rc<Self>) -> Result<(), ScriptFailure> {
        let Some(script) = self.local.modules.script() else { return Ok(()) };
        let Some(version) = self.local.services.files.version(&script) else { return Ok(()) };
        self.local.modules.set_script(&script, version.number);
        let of_host = |error: mlua::Error| ScriptFailure::from(&error);
        let globals = Globals::of(&self.lua).map_err(of_host)?;
        self.control("begin").map_err(of_host)?;
        let alive = Alive::default();
        let run = self.script_run(&version.script, Generation::staged(alive.end()));
        match self.start_script(&version.script, &run).await {
            Ok(()) => {
                self.control("keep").map_err(of_host)?;
                let anew = run.script.as_ref().map(Generation::take_staged).unwrap_or_default();
                self.local.handlers.borrow_mut().replace(|handler| handler.of_script, anew);
                *self.alive.borrow_mut() = alive;
                Ok(())
            }
            Err(failure) => {
                self.control("back").map_err(of_host)?;
                globals.put_back(&self.lua).map_err(of_host)?;
                Err(failure)
            }
        }
    }

    fn control(&self, name: &str) -> mlua::Result<()> {
        self.local.modules.control(name)?.call(())
    }

    /// Runs a module's new version, or goes on with what there is.
    async fn take_up_module(&self, used: Use) {
        let Some(name) = used.loaded else { return };
        let result = self.run_module(&name).await;
        self.local.services.counters.reloaded(result.is_ok());
        let stage = &self.home.stage;
        match result {
            Ok(()) => tracing::info!(%stage, module = name, "taken up anew"),
            Err(failure) => {
                tracing::error!(%stage, module = name, "the new version fails, so the one before goes on: {failure}");
            }
        }
    }

    async fn run_module(&self, name: &str) -> Result<(), ScriptFailure> {
        let of_host = |error: mlua::Error| ScriptFailure::from(&error);
        let again = self.local.modules.control("again").map_err(of_host)?;
        let end = self.alive.borrow().end();
        let run = Run::new(name.into(), self.home.clone());
        let run = Rc::new(Run { script: Some(Generation::open(end)), ..run });
        let name = self.lua.create_string(name).map_err(of_host)?;
        let args = [LuaValue::String(name)].into_iter().collect();
        execute(&self.local, run, again, args).await.map(drop)
    }
}

/// The globals of a script, as they were.
struct Globals(Vec<(LuaValue, LuaValue)>);

impl Globals {
    fn of(lua: &Lua) -> mlua::Result<Self> {
        let mut all = Vec::new();
        lua.globals().for_each(|name: LuaValue, value: LuaValue| {
            all.push((name, value));
            Ok(())
        })?;
        Ok(Self(all))
    }

    /// Takes away what has come and gives back what was overwritten.
    fn put_back(self, lua: &Lua) -> mlua::Result<()> {
        let globals = lua.globals();
        for (name, _) in Self::of(lua)?.0 {
            globals.raw_set(name, LuaValue::Nil)?;
        }
        self.0.into_iter().try_for_each(|(name, value)| globals.raw_set(name, value))
    }
}
