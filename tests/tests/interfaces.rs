//! Interfaces of other shapes than one queue and an MTU of 1500.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bmstools_tests::nic::{self, PairOptions};
use bmstools_tests::{Link, Testbed, data, with_every_link};

with_every_link!(
    every_queue_serves,
    an_interface_with_a_kernel_thread_for_its_frames_serves,
    an_interface_with_a_larger_mtu_serves,
    a_smaller_mtu_is_kept_to,
    another_protocols_frames_pass_untouched,
);

fn serve(bed: &Testbed) -> Result<()> {
    for number in 0..5 {
        let done = bed.operator().exec(&["echo", &number.to_string()])?.success()?;
        assert_eq!(done.text(), format!("{number}\n"));
        let sent = bed.random_file(&format!("sent-{number}"), 1_000_000 + number)?;
        let arrived = bed.path(&format!("arrived-{number}"));
        bed.operator().push(&sent, &arrived)?;
        data::require_same(&sent, &arrived)?;
    }
    Ok(())
}

fn every_queue_serves(link: Link) -> Result<()> {
    let bed = Testbed::with(link, PairOptions { queues: 4, ..PairOptions::default() })?;
    let _agent = bed.start_agent()?;
    serve(&bed)
}

fn an_interface_with_a_kernel_thread_for_its_frames_serves(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    for end in [bed.operator_end(), bed.agent_end()] {
        nic::thread_napi(end.namespace, end.name)?;
    }
    serve(&bed)
}

fn an_interface_with_a_larger_mtu_serves(link: Link) -> Result<()> {
    // The most that native XDP takes in one buffer on veth.
    let bed = Testbed::with(link, PairOptions { mtu: 3498, ..PairOptions::default() })?;
    let _agent = bed.start_agent()?;
    serve(&bed)
}

fn a_smaller_mtu_is_kept_to(link: Link) -> Result<()> {
    let bed = Testbed::with(link, PairOptions { mtu: 576, ..PairOptions::default() })?;
    let _agent = bed.start_agent()?;
    serve(&bed)
}

fn another_protocols_frames_pass_untouched(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let (operator, server) = (bed.operator_namespace(), bed.agent_namespace());
    operator.ip(&format!("address add 192.0.2.2/24 dev {}", nic::NAME))?;
    server.ip(&format!("address add 192.0.2.1/24 dev {}", nic::NAME))?;
    let listener = server.enter(|| TcpListener::bind("192.0.2.1:7"))??;
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        io::Result::Ok(heard)
    });
    let address = "192.0.2.1:7".parse()?;
    let mut stream = operator.enter(|| TcpStream::connect_timeout(&address, LIMIT))??;
    bed.operator().exec(&["true"])?.success()?;
    stream.write_all(b"over TCP")?;
    drop(stream);
    let heard = echo.join().map_err(|_| anyhow!("the listener panicked"))??;
    assert_eq!(heard, "over TCP");
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(5);
