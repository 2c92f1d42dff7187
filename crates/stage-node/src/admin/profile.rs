//! Where the node spends its time in Lua, sampled for whoever asks.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use stage_lua::{Profile, Profiler, ProfilerError};

/// The longest that a profile takes.
pub const LONGEST_PROFILE: Duration = Duration::from_secs(300);

/// What was seen of a node's Lua code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProfileView {
    /// How often each stack was seen, its frames joined by `;`, the outermost first.
    pub stacks: BTreeMap<String, u64>,
    /// Samples of further stacks, for which there was no room.
    pub lost: u64,
}

impl From<ProfileView> for Profile {
    fn from(view: ProfileView) -> Self {
        let mut profile = Self::default();
        (profile.stacks, profile.lost) = (view.stacks, view.lost);
        profile
    }
}

/// How a profile is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// How long, in milliseconds.
    #[serde(default = "ten_seconds")]
    ms: u64,
    /// Samples a second.
    #[serde(default = "usual_rate")]
    rate: u32,
}

fn ten_seconds() -> u64 {
    10_000
}

fn usual_rate() -> u32 {
    99
}

/// Takes a profile. It ends early if the one who asked goes away.
pub(super) async fn take(
    Query(asked): Query<Asked>,
) -> Result<Json<ProfileView>, (StatusCode, String)> {
    let duration = Duration::from_millis(asked.ms);
    if duration.is_zero() || duration > LONGEST_PROFILE {
        let most = LONGEST_PROFILE.as_millis();
        return Err((StatusCode::BAD_REQUEST, format!("ms: 1 to {most}, not {}\n", asked.ms)));
    }
    let profiler = Profiler::start(asked.rate).map_err(|error| {
        let status = match error {
            ProfilerError::Busy => StatusCode::CONFLICT,
            ProfilerError::Rate { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{error}\n"))
    })?;
    tokio::time::sleep(duration).await;
    let Profile { stacks, lost, .. } = profiler.finish();
    Ok(Json(ProfileView { stacks, lost }))
}
