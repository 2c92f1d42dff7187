use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value as LuaValue};
use stage_value::{Address, AddressError, Function as ShippedFunction};

use super::{Library, base};
use crate::api::broadcasts::Heard;
use crate::api::in_order::InOrder;
use crate::api::module::Modules;
use crate::api::test::Test;
use crate::api::thread::Threads;
use crate::complaints::Complaints;
use crate::error::ScriptFailure;
use crate::function::{Instance, Instantiator, Recovery, Sources, refuse_bytecode, refuse_close};
use crate::handlers::Handlers;
use crate::home::Home;
use crate::preempt::{self, Bounds, MainState};
use crate::raw::Closures;
use crate::services::{Options, Services};
use crate::view::Views;
use crate::{Script, api, run::Run};

/// The most parsed addresses that a VM keeps.
const ADDRESSES: usize = 1024;

/// Coroutines that are kept for the next handlers.
const IDLE_COROUTINES: usize = 1024;

/// What the host keeps beside a VM.
pub(crate) struct Local {
    pub(crate) services: Arc<Services>,
    pub(crate) options: Arc<Options>,
    /// The instance that this VM is; a worker's VM is none.
    pub(crate) home: Option<Home>,
    pub(crate) sources: Rc<Sources>,
    pub(crate) recovery: Recovery,
    instantiator: Instantiator,
    /// Calls a function as one that may be preempted.
    entry: Function,
    pub(crate) main_state: MainState,
    /// The table that was raised as an error last, as `value`.
    raised: Table,
    /// Shows a value as text.
    dump: Function,
    pub(crate) views: Views,
    pub(crate) handlers: RefCell<Handlers<Handler>>,
    /// Waits for outcomes and timers that were started and have not ended.
    pub(crate) pending: Cell<usize>,
    pub(crate) heard: Heard,
    /// Alterations of ticket categories.
    pub(crate) altered: Rc<InOrder>,
    /// Broadcasts to ticket holders.
    pub(crate) told: Rc<InOrder>,
    pub(crate) threads: RefCell<Threads>,
    pub(crate) temporary_ids: Cell<u64>,
    pub(crate) complaints: Complaints,
    /// What its script is made of.
    pub(crate) modules: Modules,
    /// The tests that its script has registered.
    pub(crate) tests: RefCell<Vec<Test>>,
    /// Whether a script's update of a shared variable is being computed.
    pub(crate) updating: Cell<bool>,
    globals: Environments,
    addresses: RefCell<HashMap<Box<str>, Rc<Address>, foldhash::fast::RandomState>>,
}

/// The tables behind the globals of scripts and sandboxed functions.
struct Environments {
    /// The metatable of every sandbox.
    metatable: Table,
    script: *const c_void,
    library: Library,
}

/// A registered function with the arguments that come before those of the message.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) function: Function,
    pub(crate) bound: Vec<LuaValue>,
    /// Whether the stage's script has registered it, and not one of its handlers.
    pub(crate) of_script: bool,
}

impl Local {
    /// Opens a VM with the whole API.
    ///
    /// # Errors
    /// The VM's own, such as no memory.
    pub(crate) fn open(
        services: Arc<Services>,
        options: Arc<Options>,
        home: Option<Home>,
    ) -> mlua::Result<(Lua, Rc<Self>)> {
        let lua = open()?;
        lua.set_memory_limit(options.vm_memory)?;
        let sources = Rc::new(Sources::default());
        let views = Views::new(&lua, services.disposal.clone())?;
        let raised = lua.create_table()?;
        base::restrict(&lua, &sources, &views, &raised)?;
        let (dump, modules) = api::install_globals(&lua, &services, options.testing.is_some())?;
        let base = base::sandbox_base(&lua)?;
        let (entry, main_state) = preempt::entry(&lua)?;
        let metatable = lua.create_table()?;
        let local = Rc::new(Self {
            services,
            options,
            home,
            recovery: Recovery::new(Rc::clone(&sources), Closures::open(&lua)?),
            sources,
            instantiator: Instantiator::default(),
            entry,
            main_state,
            raised,
            dump,
            views,
            handlers: RefCell::default(),
            pending: Cell::new(0),
            heard: Heard::default(),
            modules,
            tests: RefCell::default(),
            altered: Rc::default(),
            told: Rc::default(),
            threads: RefCell::default(),
            temporary_ids: Cell::new(0),
            complaints: Complaints::default(),
            updating: Cell::new(false),
            globals: Environments {
                metatable: metatable.clone(),
                script: lua.globals().to_pointer(),
                library: Library::new(base.clone(), &[lua.globals()])?,
            },
            addresses: RefCell::default(),
        });
        lua.set_app_data(Rc::clone(&local));
        api::install_variables(&lua, &base, &metatable)?;
        Ok((lua, local))
    }

    /// The host's side of a VM.
    ///
    /// # Errors
    /// If the VM is being closed.
    pub(crate) fn of(lua: &Lua) -> mlua::Result<Rc<Self>> {
        lua.app_data_ref::<Rc<Self>>()
            .map(|local| Rc::clone(&local))
            .ok_or_else(|| mlua::Error::runtime("the stage is stopping"))
    }

    /// Calls a function in a coroutine of its own, which the bounds of [`Options`] hold for.
    pub(crate) fn call(
        &self,
        function: Function,
        mut args: MultiValue,
    ) -> impl Future<Output = mlua::Result<MultiValue>> + use<> {
        args.push_front(LuaValue::Function(function));
        self.entry.call_async(args)
    }

    /// What a script has raised. Of a table, which mlua has only the address of, its content.
    pub(crate) fn failure(&self, error: &mlua::Error) -> ScriptFailure {
        let failure = ScriptFailure::from(error);
        let Ok(LuaValue::Table(table)) = self.raised.raw_get("value") else { return failure };
        if failure.message != format!("table: {:p}", table.to_pointer()) {
            return failure;
        }
        // It is shown once; without memory for that, the address has to do.
        drop(self.raised.raw_set("value", LuaValue::Nil));
        match self.dump.call::<String>((table, true)) {
            Ok(message) => ScriptFailure { message, ..failure },
            Err(_) => failure,
        }
    }

    /// How long a handler may compute, or a script, which may have a lot to set up.
    pub(crate) fn bounds(&self, is_script: bool) -> Bounds {
        let Options { quantum, busy_time, handler_time, .. } = *self.options;
        Bounds { quantum, busy: if is_script { handler_time } else { busy_time } }
    }

    /// Compiles a script as text and keeps the text.
    ///
    /// # Errors
    /// A syntax error.
    pub(crate) fn compile(&self, lua: &Lua, script: &Script) -> mlua::Result<Function> {
        let (name, text) = (&script.name, script.code());
        refuse_bytecode(name, &text)?;
        refuse_close(name, &text)?;
        let function = lua
            .load(text.as_ref())
            .set_name(format!("@{name}"))
            .set_mode(ChunkMode::Text)
            .into_function()?;
        self.sources.keep_script(name, text);
        Ok(function)
    }

    /// A closure of a function that was sent, in the given sandbox: the globals of one run, which are made if there are none yet.
    ///
    /// # Errors
    /// A text that does not compile, and the VM's own.
    pub(crate) fn instantiate(
        &self,
        lua: &Lua,
        sent: &ShippedFunction,
        sandbox: &mut Option<Table>,
    ) -> mlua::Result<Instance> {
        let metatable = &self.globals.metatable;
        self.instantiator.instantiate(lua, &self.sources, sent, metatable, sandbox)
    }

    /// Whether a table holds the globals of this VM's script or of a sandbox.
    pub(crate) fn is_environment(&self, table: &Table) -> bool {
        table.to_pointer() == self.globals.script
            || table.metatable().is_some_and(|metatable| metatable == self.globals.metatable)
    }

    pub(crate) fn library_name(&self, value: *const c_void) -> Option<Arc<str>> {
        self.globals.library.name(value)
    }

    pub(crate) fn library_value(&self, name: &str) -> mlua::Result<LuaValue> {
        self.globals.library.value(name)
    }

    /// Parses an address, or finds it among those parsed before.
    ///
    /// # Errors
    /// Where it is no address.
    pub(crate) fn address(&self, text: &str) -> Result<Rc<Address>, AddressError> {
        if let Some(address) = self.addresses.borrow().get(text) {
            return Ok(Rc::clone(address));
        }
        let address = Rc::new(text.parse::<Address>()?);
        let mut addresses = self.addresses.borrow_mut();
        if addresses.len() >= ADDRESSES {
            addresses.clear();
        }
        addresses.insert(text.into(), Rc::clone(&address));
        Ok(address)
    }

    /// Counts something that this VM waits for until the guard is dropped.
    pub(crate) fn wait(self: &Rc<Self>) -> Waiting {
        self.pending.set(self.pending.get() + 1);
        Waiting(Rc::clone(self))
    }

    /// The instance that the code which runs now belongs to.
    ///
    /// # Errors
    /// Outside of any run, as in a finalizer.
    pub(crate) fn home_of_caller(&self) -> mlua::Result<Home> {
        Run::current()
            .map(|run| run.home.clone())
            .or_else(|| self.home.clone())
            .ok_or_else(|| mlua::Error::runtime("no handler runs here"))
    }
}

/// A VM with the harmless libraries.
fn open() -> mlua::Result<Lua> {
    let libraries = StdLib::TABLE
        | StdLib::STRING
        | StdLib::MATH
        | StdLib::UTF8
        | StdLib::COROUTINE
        | StdLib::OS;
    Lua::new_with(libraries, LuaOptions::new().thread_pool_size(IDLE_COROUTINES))
}

/// A reply, timer or ticket that a VM waits for.
pub(crate) struct Waiting(Rc<Local>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
    }
}
