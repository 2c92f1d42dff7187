//! What reaches the port of a node that is no peer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Folder, Node, finish, stdout};

/// Sends bytes and reads what comes back until the node closes or stays silent.
fn throw(to: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // The node may close while bytes are still being sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn garbage_and_foreign_protocols_leave_the_node_serving() {
    let folder = Folder::new();
    let script =
        folder.write("main.lua", "stage.waitfor('hello', function() return 'still here' end)");
    let (node, to, _) = Node::serve(&script);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frame_of_16_mb = [preface.as_slice(), &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    throw(&to, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    throw(&to, b"");
    throw(&to, &[0; 64]);
    throw(&to, preface);
    throw(&to, &frame_of_16_mb);
    throw(&to, &noise);
    // Connections that say nothing at all.
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(&to).unwrap()).collect();
    let output = finish(&["signal", "stage:hello", "--to", &to]);
    assert_eq!(stdout(&output), "\"still here\"\n", "{output:?}");
    drop(silent);
    node.signal("TERM");
    assert_eq!(node.end().0, Some(0));
}
