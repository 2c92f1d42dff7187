//! The node's state for Prometheus and whatever else reads OpenMetrics.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use stage_route::State as RouteState;
use stage_submit::{Histogram, Stats};

use super::state::StateView;
use crate::node::Shared;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Ends of the buckets of times, in seconds.
const BUCKETS: [f64; 12] =
    [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0, f64::INFINITY];

/// `/metrics`.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let figures = Figures { state: StateView::of(&shared).await, submit: shared.submitter.stats() };
    let mut registry = Registry::with_prefix("stage");
    registry.register_collector(Box::new(figures));
    let mut written = String::new();
    match text::encode(&mut written, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], written).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What one look at the node has found.
#[derive(Debug)]
struct Figures {
    state: StateView,
    submit: Stats,
}

type Labels = Vec<(String, String)>;

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.node(&mut families)?;
        self.route(&mut families)?;
        self.queues(&mut families)?;
        self.submit(&mut families)?;
        self.tickets(&mut families)?;
        self.variables(&mut families)?;
        self.databases(&mut families)?;
        self.http(&mut families)?;
        let mut counters = self.state.counters.iter();
        counters.try_for_each(|(name, count)| {
            families.counter(name, "Counted since the node's start", [(labels([]), *count)])
        })
    }
}

impl Figures {
    fn node(&self, to: &mut Families<'_>) -> fmt::Result {
        let stages = self.state.stages.iter();
        let stages = stages.map(|stage| (labels([("stage", stage)]), 1.0));
        to.gauge("carries", "Stages that the node carries", None, stages)?;
        let peers = self.state.peers.iter().map(|peer| {
            (
                labels([("name", &peer.name), ("address", &peer.address), ("state", &peer.state)]),
                1.0,
            )
        });
        to.gauge("peer", "Other nodes, by their standing or how the link to them is", None, peers)
    }

    fn route(&self, to: &mut Families<'_>) -> fmt::Result {
        let route = &self.state.route;
        let states = RouteState::ALL
            .map(RouteState::as_str)
            .map(|state| (labels([("state", state)]), f64::from(u8::from(state == route.state))));
        to.gauge("route_state", "1 for the state that the node is in", None, states)?;
        for (name, help, ms) in [
            ("route_delay", "Delay of the slowest queue in the last window", route.delay_ms),
            ("route_threshold", "Delay past which the node is past its limit", route.threshold_ms),
            ("route_baseline", "What a message costs while the node is calm", route.baseline_ms),
        ] {
            to.gauge(name, help, Some(&Unit::Seconds), [(labels([]), ms / 1000.0)])?;
        }
        for (name, help, share) in [
            ("route_utilisation", "Busy share of the busiest queue's workers", route.utilisation),
            ("route_credit", "Share of others' work that the node takes", route.credit),
        ] {
            to.gauge(name, help, Some(&Unit::Ratios), [(labels([]), share)])?;
        }
        let failures = f64::from(route.failures);
        let help = "Leaves that are not made up for, each of which doubles the time away";
        to.gauge("route_failures", help, None, [(labels([]), failures)])?;
        to.counter("route_leaves", "How often the node has left", [(labels([]), route.leaves)])
    }

    fn queues(&self, to: &mut Families<'_>) -> fmt::Result {
        let of = |read: fn(&super::QueueState) -> f64| {
            let queues = self.state.queues.iter();
            queues.map(move |(name, queue)| (labels([("queue", name)]), read(queue)))
        };
        let waiting = of(|queue| queue.waiting as f64);
        to.gauge("queue_waiting", "Messages or jobs that wait", None, waiting)?;
        let help = "Handlers or jobs that run or sleep";
        to.gauge("queue_running", help, None, of(|queue| queue.running as f64))?;
        let help = "Delay in the last window";
        let delay = of(|queue| queue.delay_ms / 1000.0);
        to.gauge("queue_delay", help, Some(&Unit::Seconds), delay)?;
        let help = "Busy share of the workers behind it";
        to.gauge("queue_utilisation", help, Some(&Unit::Ratios), of(|queue| queue.utilisation))?;
        let queues = self.state.queues.iter();
        let refused = queues.map(|(name, queue)| (labels([("queue", name)]), queue.refused_late));
        let help = "Messages of other nodes refused because they had waited for too long";
        to.counter("queue_refused_late", help, refused)
    }

    fn submit(&self, to: &mut Families<'_>) -> fmt::Result {
        let stats = &self.submit;
        to.gauge("submit_keys", "Keys with jobs", None, [(labels([]), stats.keys as f64)])?;
        let ends = [
            ("completed", stats.ended.completed),
            ("panicked", stats.ended.panicked),
            ("cancelled", stats.ended.cancelled),
            ("expired", stats.ended.expired),
            ("closed", stats.ended.closed),
        ];
        let ends = ends.map(|(how, count)| (labels([("how", how)]), count));
        to.counter("submit_ended", "Submitted jobs that have ended", ends)?;
        to.counter(
            "submit_refused",
            "Submitted jobs that a bound refused",
            [(labels([]), stats.refused)],
        )?;
        to.times("submit_wait", "How long jobs waited for their key", &stats.wait)?;
        to.times("submit_run", "How long jobs ran, waits included", &stats.run)
    }

    /// Of the whole service, and so the same from every node.
    fn tickets(&self, to: &mut Families<'_>) -> fmt::Result {
        let of = |read: fn(&super::TicketState) -> f64| {
            let tickets = self.state.tickets.iter();
            tickets.map(move |(name, ticket)| (labels([("category", name)]), read(ticket)))
        };
        to.gauge("ticket_limit", "Tickets that may be held", None, of(|it| it.limit as f64))?;
        to.gauge("ticket_held", "Tickets that are held", None, of(|it| it.held as f64))?;
        to.gauge("ticket_waiting", "Who waits for a ticket", None, of(|it| it.waiting as f64))?;
        let of = |read: fn(&super::TicketState) -> u64| {
            let tickets = self.state.tickets.iter();
            tickets.map(move |(name, ticket)| (labels([("category", name)]), read(ticket)))
        };
        to.counter("ticket_granted", "Tickets granted", of(|it| it.granted))?;
        to.counter("ticket_refused", "Requests for tickets refused", of(|it| it.refused))?;
        to.counter("ticket_expired", "Tickets ended by their deadline", of(|it| it.expired))
    }

    fn variables(&self, to: &mut Families<'_>) -> fmt::Result {
        let of = &self.state.variables;
        let alive = of.versions_alive as f64;
        let help = "Versions of the shared variables that are not yet freed";
        to.gauge("variables_versions", help, None, [(labels([]), alive)])?;
        let held = of.held_ms.unwrap_or(0.0) / 1000.0;
        let help = "For how long the oldest of these has been out of date";
        to.gauge("variables_held", help, Some(&Unit::Seconds), [(labels([]), held)])?;
        to.counter("variables_commits", "Writes of variables", [(labels([]), of.version)])?;
        let help = "Updates computed again because another writer was first";
        to.counter("variables_conflicts", help, [(labels([]), of.conflicts)])
    }

    fn databases(&self, to: &mut Families<'_>) -> fmt::Result {
        let of = |read: fn(&super::DatabaseState) -> f64| {
            let databases = self.state.databases.iter();
            databases.map(move |(name, of)| (labels([("database", name)]), read(of)))
        };
        let connections = of(|it| f64::from(it.connections));
        to.gauge("database_connections", "Open connections", None, connections)?;
        to.gauge("database_idle", "Those that nobody uses", None, of(|it| f64::from(it.idle)))?;
        let waiting = of(|it| it.waiting as f64);
        to.gauge("database_waiting", "Calls that wait for a connection", None, waiting)?;
        let of = |read: fn(&super::DatabaseState) -> u64| {
            let databases = self.state.databases.iter();
            databases.map(move |(name, of)| (labels([("database", name)]), read(of)))
        };
        to.counter("database_statements", "Statements sent", of(|it| it.statements))?;
        to.counter("database_failed", "Statements that failed", of(|it| it.failed))?;
        to.counter("database_timeouts", "Statements that took too long", of(|it| it.timeouts))?;
        to.counter("database_refused", "Calls that got no connection", of(|it| it.refused))?;
        to.counter("database_transactions", "Transactions begun", of(|it| it.transactions))?;
        to.counter("database_rolled_back", "Those rolled back", of(|it| it.rolled_back))
    }

    fn http(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(of) = &self.state.http else { return Ok(()) };
        let help = "Requests of scripts to other services that have begun and not ended";
        to.gauge("http_under_way", help, None, [(labels([]), of.under_way as f64)])?;
        let help = "How many of them may be under way at a time";
        to.gauge("http_limit", help, None, [(labels([]), of.limit as f64)])?;
        let help = "Requests of scripts that have ended, well or not";
        to.counter("http_ended", help, [(labels([]), of.ended)])?;
        let failed = of.failed.iter().map(|(kind, count)| (labels([("kind", kind)]), *count));
        to.counter("http_failed", "Requests of scripts that failed", failed)
    }
}

/// Writes families of metrics; one without values is left out.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        values.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn times(&mut self, name: &str, help: &str, times: &Histogram) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let mut buckets = BUCKETS.map(|end| (end, 0));
        for (end, count) in times.buckets() {
            let end = end.as_secs_f64();
            if let Some((_, sum)) = buckets.iter_mut().find(|(bucket, _)| end <= *bucket) {
                *sum += count;
            }
        }
        let sum = times.sum().as_secs_f64();
        family.encode_histogram::<NoLabelSet>(sum, times.count(), &buckets, None)
    }
}
