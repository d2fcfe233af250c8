#!/usr/bin/env python3
"""What the PyPI package `rocketmq` (it bundles librocketmq, the C++ client) does with a broker.

    NAMESRV_ADDR=127.0.0.1:9876 python suite.py

Prints `PASS name ms` or `FAIL name reason` per check and a closing TOTAL line.
"""
import os
import sys
import threading
import time
import traceback

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, SendStatus

NAMESRV = os.environ["NAMESRV_ADDR"]
# Clients live until the process ends: the C++ core may abort when one is destroyed while others run.
ALIVE = []
RUN = format(int(time.time() * 1000), "x")


def require(condition, reason):
    if not condition:
        raise AssertionError(reason)


def name(prefix, check):
    return f"{prefix}_{RUN}_{check.__name__}"


def producer_of(check):
    producer = Producer(name("PID", check), timeout=10_000)
    producer.set_namesrv_addr(NAMESRV)
    producer.start()
    ALIVE.append(producer)
    return producer


def message(topic, body, tag="TagA", key=None):
    m = Message(topic)
    m.set_tags(tag)
    m.set_body(body)
    if key is not None:
        m.set_keys(key)
    return m


def send(producer, topic, prefix, count):
    for i in range(count):
        result = producer.send_sync(message(topic, f"{prefix} {i}", key=f"key{i}"))
        require(result.status == SendStatus.OK, f"send {i}: {result}")


class Inbox:
    """A push consumer that collects; `fail_first` lets every message fail once."""

    def __init__(self, check, topic, expression="*", fail_first=False):
        self.lock, self.messages = threading.Lock(), []
        self.fail_first = fail_first
        self.consumer = PushConsumer(name("CID", check))
        self.consumer.set_namesrv_addr(NAMESRV)
        self.consumer.set_instance_name(name("I", check))
        self.consumer.subscribe(topic, self.take, expression)
        self.consumer.start()
        ALIVE.append(self.consumer)

    def take(self, m):
        with self.lock:
            self.messages.append((m.body, m.tags, m.keys, m.queue_id, m.queue_offset, m.reconsume_times))
        if self.fail_first and m.reconsume_times == 0:
            raise RuntimeError("fails once, on purpose")

    def bodies(self):
        with self.lock:
            return {m[0] for m in self.messages}

    def expect(self, count, seconds=60):
        end = time.monotonic() + seconds
        while len(self.bodies()) < count and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        require(len(self.bodies()) == count, f"received {len(self.bodies())} of {count}: {sorted(self.bodies())[:12]}")
        require(len(self.messages) == count, f"received {len(self.messages)}, not {count}")


def a_thousand_sends_are_ok_and_a_thousand_arrive(check):
    topic, producer = name("T", check), producer_of(check)
    send(producer, topic, "Hello RocketMQ", 1000)
    inbox = Inbox(check, topic)
    inbox.expect(1000)
    offsets = {}
    for m in inbox.messages:
        offsets.setdefault(m[3], []).append(m[4])
    for queue, found in offsets.items():
        require(sorted(found) == list(range(len(found))), f"offsets of queue {queue} are not dense")


def tags_keys_and_bodies_come_back_unchanged(check):
    topic, producer = name("T", check), producer_of(check)
    large = "x" * 100_000
    for body, tag in (("Grüße, 世界", "TagA"), (large, "TagB"), ("not wanted", "TagC")):
        result = producer.send_sync(message(topic, body, tag, "key-" + tag))
        require(result.status == SendStatus.OK, str(result))
    inbox = Inbox(check, topic, "TagA || TagB")
    inbox.expect(2)
    found = {m[1]: m for m in inbox.messages}
    require(found[b"TagA"][0].decode() == "Grüße, 世界", "the body of TagA changed")
    require(found[b"TagB"][0].decode() == large, "the body of TagB changed")
    require(found[b"TagA"][2] == b"key-TagA", f"keys {found[b'TagA'][2]}")


def a_failed_message_comes_again_by_its_retry_topic(check):
    topic, producer = name("T", check), producer_of(check)
    send(producer, topic, "fails once", 1)
    inbox = Inbox(check, topic, fail_first=True)
    end = time.monotonic() + 100
    while len(inbox.messages) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    times = [m[5] for m in inbox.messages]
    require(times == [0, 1], f"reconsume times {times}")
    require(len(inbox.bodies()) == 1, "another body came")


def one_way_messages_arrive(check):
    topic, producer = name("T", check), producer_of(check)
    send(producer, topic, "single", 1)
    for i in range(5):
        producer.send_oneway(message(topic, f"one way {i}"))
    inbox = Inbox(check, topic)
    inbox.expect(6)


def a_selector_keeps_a_key_in_one_queue(check):
    topic, producer = name("T", check), producer_of(check)
    for step in range(5):
        for order in range(4):
            result = producer.send_orderly(message(topic, f"{order}:{step}"), order)
            require(result.status == SendStatus.OK, str(result))
    inbox = Inbox(check, topic)
    inbox.expect(20)
    for order in range(4):
        mine = sorted((m[4], m[3], m[0]) for m in inbox.messages if m[0].startswith(f"{order}:".encode()))
        require(len({m[1] for m in mine}) == 1, f"order {order} is in more than one queue")
        require([m[2] for m in mine] == [f"{order}:{s}".encode() for s in range(5)], f"order {order}: {mine}")


def a_pull_consumer_reads_a_topic(check):
    topic, producer = name("T", check), producer_of(check)
    send(producer, topic, "pulled", 40)
    consumer = PullConsumer(name("CID", check))
    consumer.set_namesrv_addr(NAMESRV)
    consumer.start()
    ALIVE.append(consumer)
    bodies = {m.body for m in consumer.pull(topic)}
    require(len(bodies) == 40, f"pulled {len(bodies)} of 40")


CHECKS = [
    a_thousand_sends_are_ok_and_a_thousand_arrive,
    tags_keys_and_bodies_come_back_unchanged,
    a_failed_message_comes_again_by_its_retry_topic,
    one_way_messages_arrive,
    a_selector_keeps_a_key_in_one_queue,
    a_pull_consumer_reads_a_topic,
]


def main():
    counts = {"passed": 0, "failed": 0}
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for check in (c for c in CHECKS if only in c.__name__):
        start, reason = time.monotonic(), None
        try:
            check(check)
        except Exception as e:  # noqa: BLE001 - a check may fail in any way
            reason = f"{type(e).__name__}: {e}".replace("\n", " ")
            traceback.print_exc()
        counts["failed" if reason else "passed"] += 1
        tail = reason or str(int((time.monotonic() - start) * 1000))
        print("FAIL" if reason else "PASS", check.__name__, tail, flush=True)
    print(f"TOTAL {counts['passed']} passed, {counts['failed']} failed", flush=True)
    # Leaves without running the destructors of the C++ clients.
    os._exit(0 if counts["failed"] == 0 and counts["passed"] > 0 else 1)


if __name__ == "__main__":
    main()
