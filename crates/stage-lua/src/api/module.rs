//! `stage.require(name, fn)` and `stage.load(name, fn)`: files beside a stage's script.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mlua::{Error, Function, Lua, Table};

use crate::Script;
use crate::error::without_host_place;
use crate::vm::Local;

/// The most bytes of a module's name.
const NAME_BYTES: usize = 128;

/// What the script of a VM is made of.
pub(crate) struct Modules {
    control: Table,
    /// The file of the script; modules are looked for from its folder.
    script: RefCell<Option<PathBuf>>,
    uses: RefCell<HashMap<PathBuf, Use>>,
}

/// A file that a VM uses.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// The version that it has tried last.
    pub(crate) version: u64,
    /// Whether it is the script itself, or a module that the script requires.
    pub(crate) is_part: bool,
    /// The module that `stage.load` has made of it.
    pub(crate) loaded: Option<String>,
}

/// Puts both into `stage`.
///
/// # Errors
/// The VM's own.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<Modules> {
    let coroutine: Table = lua.globals().get("coroutine")?;
    let running: Function = coroutine.get("running")?;
    let (compile, complain) = (lua.create_function(compile)?, lua.create_function(complain)?);
    let chunk = lua.load(include_str!("module.lua")).set_name("=(stage)");
    let (functions, control): (Table, Table) = chunk.call((compile, complain, running))?;
    functions.for_each(|name: String, function: Function| stage.raw_set(name, function))?;
    Ok(Modules { control, script: RefCell::default(), uses: RefCell::default() })
}

impl Modules {
    /// Says which file is the script.
    pub(crate) fn set_script(&self, path: &Path, version: u64) {
        *self.script.borrow_mut() = Some(path.to_owned());
        self.note(path, version, None);
    }

    /// The script's file, if it is in one.
    pub(crate) fn script(&self) -> Option<PathBuf> {
        self.script.borrow().clone()
    }

    /// The files whose version is another one than the VM has tried last, with what they are used for. They count as
    /// tried from now on: what comes while they are is a change again.
    pub(crate) fn changed(&self, newest: impl Fn(&Path) -> Option<u64>) -> Vec<(PathBuf, Use)> {
        let mut changed = Vec::new();
        for (path, known) in self.uses.borrow_mut().iter_mut() {
            let Some(newest) = newest(path).filter(|newest| *newest != known.version) else {
                continue;
            };
            known.version = newest;
            changed.push((path.clone(), known.clone()));
        }
        changed
    }

    /// A function of the Lua side: `begin`, `keep`, `back` and `again`.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn control(&self, name: &str) -> mlua::Result<Function> {
        self.control.raw_get(name)
    }

    fn note(&self, path: &Path, version: u64, loaded: Option<&str>) {
        let mut uses = self.uses.borrow_mut();
        let known = uses.entry(path.to_owned());
        let known = known.or_insert_with(|| Use { version, is_part: false, loaded: None });
        known.version = version;
        match loaded {
            Some(name) => known.loaded = Some(name.to_owned()),
            None => known.is_part = true,
        }
    }
}

/// Compiles a module's file. Of the folder for older copies: nothing, if there is no such copy.
fn compile(
    lua: &Lua,
    (name, is_part, falls_back): (String, bool, bool),
) -> mlua::Result<Option<Function>> {
    let local = Local::of(lua)?;
    let modules = &local.modules;
    let Some(script) = modules.script() else {
        let message = if local.home.is_none() {
            "modules are loaded in a stage's script; a function that was sent takes with it what it uses"
        } else {
            "this script is in no folder, so it has no modules beside it"
        };
        return Err(Error::runtime(message));
    };
    let file = file_of(&name).map_err(Error::runtime)?;
    let files = &local.services.files;
    if falls_back {
        let Some(path) = local.options.rollback.as_ref().map(|folder| folder.join(file)) else {
            return Ok(None);
        };
        if !path.exists() {
            return Ok(None);
        }
        let script = Script::read(path).map_err(|error| Error::runtime(error.to_string()))?;
        return local.compile(lua, &script).map(Some);
    }
    let path = script.with_file_name(file);
    let opened = files.open(&path);
    let version = opened.map_err(|error| Error::runtime(format!("module '{name}': {error}")))?;
    modules.note(&path, version.number, (!is_part).then_some(&name));
    local.compile(lua, &version.script).map(Some)
}

/// Says that a module fails and an older copy is used.
fn complain(lua: &Lua, (name, error): (String, String)) -> mlua::Result<()> {
    let local = Local::of(lua)?;
    let stage = local.home.as_ref().map_or("", |home| home.stage.as_str());
    let error = without_host_place(&error);
    tracing::error!(
        stage,
        module = name,
        "{error}; its copy in the folder of #reload.rollback is used"
    );
    local.services.counters.reloaded(false);
    Ok(())
}

/// The file of a module, from the folder of the script: `a.b` is `a/b.lua`.
fn file_of(name: &str) -> Result<PathBuf, String> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_name_byte);
    if name.len() > NAME_BYTES || !name.split('.').all(is_part) {
        let shown: String = name.chars().take(64).collect();
        return Err(format!(
            "'{}' is no name of a module: letters, digits, _ and - with dots between, at most {NAME_BYTES} bytes; \
             'lib.money' is lib/money.lua beside the script",
            shown.escape_debug()
        ));
    }
    Ok(PathBuf::from(format!("{}.lua", name.replace('.', "/"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_beside_the_script_or_below() {
        assert_eq!(file_of("money").unwrap(), Path::new("money.lua"));
        assert_eq!(file_of("lib.money-2").unwrap(), Path::new("lib/money-2.lua"));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in [
            "",
            ".",
            "..",
            "../a",
            "a..b",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a\0",
            "a.",
            "é",
            &"n".repeat(129),
        ] {
            assert!(file_of(name).is_err(), "{name}");
        }
    }
}
