#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use super::*;
use crate::Shards;
use crate::cluster::leadership::Terms;

const GONE: NodeId = NodeId(5);

/// A member that leads and has its nodes in no store.
fn leading() -> (Driver, Write) {
    let mut config = ClusterConfig::new(["127.0.0.1:1"], "127.0.0.1:2");
    config.server.absence = Duration::from_millis(1);
    let rules = &config.server.tickets.rules;
    let terms = Terms {
        address: config.address.clone(),
        incarnation: 1,
        authority: config.authority,
        grant: rules.grant,
        first_epoch: 1,
        drift: rules.drift,
    };
    let shard = Shards::ONE.all().next().unwrap();
    let following = Standing::Following { leader: String::new() };
    let office = serve::Standing::Following { leader: String::new() };
    let mut driver = Driver {
        leadership: Leadership::new(terms),
        store: Store::new(config.endpoints.clone(), &config.prefix, shard, config.authority),
        office: Arc::new(Office::new(office)),
        shard,
        share: Share::new(Arc::default()),
        config,
        origin: Instant::now(),
        standing: watch::Sender::new(following),
        hub: None,
        won: None,
        uncertain: false,
        until: Time::ZERO,
        aside: false,
        moved: false,
    };
    let now = driver.now();
    let steps = driver.leadership.observed(now, None, 0);
    driver.carry_out(steps);
    let write = driver.leadership.due(now, false, Duration::ZERO).unwrap();
    driver.wrote(now, write.clone(), &Wanted::default(), Written::At(1));
    driver.begin(&BTreeSet::from([GONE]));
    (driver, write)
}

/// Who is to be struck off, once there is somebody.
async fn leaving(hub: &Hub) -> Wanted {
    loop {
        let (wanted, _) = hub.begin_write(Duration::ZERO);
        if !wanted.leaving.is_empty() {
            return wanted;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn who_is_gone_is_struck_off_though_an_earlier_write_came_late() {
    let (mut driver, write) = leading();
    let hub = driver.hub.clone().unwrap();
    let wanted = leaving(&hub).await;
    let late = Written::Not(Some(write.record.clone()), 2);
    driver.wrote(driver.now(), Write { expected: 1, ..write }, &wanted, late);
    assert!(driver.leadership.leads().is_some());
    let again = tokio::time::timeout(Duration::from_secs(10), leaving(&hub)).await;
    assert_eq!(again.unwrap().leaving, BTreeSet::from([GONE]));
}
