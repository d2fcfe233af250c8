#!/usr/bin/env python3
"""Records golden frames between the official Apache RocketMQ client and the official servers.

    mvn -f tests/java process-classes
    python3 tests/golden/record.py --java-build tests/java/target --out tests/golden [--only 5.5.0-json]

For each of {5.5.0, 4.9.7 servers with client 4.9.8} x {json, binary} it starts an official name server
and broker, puts a recording proxy before both (route answers name the proxy's port), runs
ringmq.e2e.Workload and the mqadmin commands, and writes the first frame of each
(code, direction, answer code) as hex, one file each, plus README.md with where each comes from.

A file is one whole frame: the length word, the header word, header and body.
"""
import argparse
import datetime
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

OPENS = [f"--add-opens=java.base/{p}=ALL-UNNAMED" for p in
         ("java.nio", "sun.nio.ch", "java.lang", "java.util", "jdk.internal.ref")]
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *OPENS,
       "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED"]
NAMESRV, NAMESRV_PROXY, BROKER, BROKER_PROXY = 25806, 25807, 25841, 25851

NAMES = {
    10: "send_message", 11: "pull_message", 12: "query_message", 14: "query_consumer_offset",
    15: "update_consumer_offset", 17: "update_and_create_topic", 21: "get_all_topic_config",
    25: "update_broker_config", 26: "get_broker_config", 28: "get_broker_runtime_info",
    29: "search_offset_by_timestamp", 30: "get_max_offset", 31: "get_min_offset",
    32: "get_earliest_msg_storetime", 33: "view_message_by_id", 34: "heart_beat", 35: "unregister_client",
    36: "consumer_send_msg_back", 37: "end_transaction", 38: "get_consumer_list_by_group",
    39: "check_transaction_state", 40: "notify_consumer_ids_changed", 41: "lock_batch_mq",
    42: "unlock_batch_mq", 43: "get_all_consumer_offset", 45: "get_all_delay_offset",
    46: "check_client_config", 100: "put_kv_config", 101: "get_kv_config", 102: "delete_kv_config",
    103: "register_broker", 104: "unregister_broker", 105: "get_routeinfo_by_topic",
    106: "get_broker_cluster_info", 200: "update_and_create_subscriptiongroup",
    201: "get_all_subscriptiongroup_config", 202: "get_topic_stats_info",
    203: "get_consumer_connection_list", 204: "get_producer_connection_list",
    205: "wipe_write_perm_of_broker", 206: "get_all_topic_list_from_nameserver",
    207: "delete_subscriptiongroup", 208: "get_consume_stats", 215: "delete_topic_in_broker",
    216: "delete_topic_in_namesrv", 219: "get_kvlist_by_namespace", 224: "get_topics_by_cluster",
    300: "query_topic_consume_by_who", 304: "get_system_topic_list_from_ns",
    305: "get_system_topic_list_from_broker", 307: "get_consumer_running_info", 310: "send_message_v2",
    315: "view_broker_stats_data", 320: "send_batch_message", 322: "query_data_version",
    327: "add_write_perm_of_broker", 351: "get_topic_config", 352: "get_subscriptiongroup_config",
    361: "lite_pull_message", 370: "recall_message", 217: "register_topic_in_namesrv",
    901: "get_broker_member_group", 904: "broker_heartbeat",
}

MQADMIN = [
    "clusterList", "clusterList -m", "topicList", "topicList -c", "topicRoute -t TopicTest",
    "topicRoute -t NoSuchTopic", "topicStatus -t TopicTest", "updateTopic -c DefaultCluster -t TopicAdmin -r 2 -w 2",
    "brokerStatus -b 127.0.0.1:{broker}", "updateSubGroup -c DefaultCluster -g CID_admin",
    "consumerProgress", "consumerProgress -g CID_golden", "consumerConnection -g CID_golden",
    "getConsumerConfig -g CID_golden", "exportMetadata -c DefaultCluster -f /tmp/rocketmq/export",
    "getBrokerConfig -b 127.0.0.1:{broker}", "updateOrderConf -t TopicAdmin -m put -v broker-a:2",
    "updateOrderConf -t TopicAdmin -m get", "wipeWritePerm -b broker-a", "addWritePerm -b broker-a",
    "deleteTopic -c DefaultCluster -t TopicAdmin", "deleteSubGroup -c DefaultCluster -g CID_admin",
]
# While the workload's consumers are online.
MQADMIN_ONLINE = ["consumerConnection -g CID_golden", "consumerProgress -g CID_golden",
                  "producerConnection -g PID_golden -t TopicTest"]


class Frames:
    """Keeps the first frame of each kind. A request's answer is found by connection, direction and opaque."""

    def __init__(self, out, form, version):
        self.out, self.form, self.version = out, form, version
        self.lock, self.seen, self.rows = threading.Lock(), set(), []
        self.command = ""

    def save(self, code, kind, answer, frame):
        name = NAMES.get(code, "unknown")
        tail = f"-code{answer}" if answer else ""
        if kind == "request" and code == 34 and b'"consumerDataSet":[{' in frame:
            tail = "-consumers"
        file = f"{code}-{name}-{kind}-{self.form}-{self.version}{tail}.hex"
        with self.lock:
            if file in self.seen:
                return
            self.seen.add(file)
            self.rows.append((code, file, len(frame), self.command))
        text = frame.hex()
        with open(os.path.join(self.out, file), "w") as f:
            f.write("\n".join(text[i:i + 96] for i in range(0, len(text), 96)) + "\n")


def header_of(frame):
    """(code, opaque, flag) of a whole frame in either header form."""
    mark = struct.unpack_from(">i", frame, 4)[0]
    form, length = (mark >> 24) & 0xFF, mark & 0xFFFFFF
    head = frame[8:8 + length]
    if form == 1:
        code, _language, _version, opaque, flag = struct.unpack_from(">hbhii", head, 0)
        return form, code, opaque, flag
    fields = json.loads(head)
    return form, fields["code"], fields["opaque"], fields["flag"]


class Connection:
    def __init__(self, client, server, frames, rewrite, want_form):
        self.client, self.server, self.frames = client, server, frames
        self.rewrite, self.want_form = rewrite, want_form
        self.pending = {"up": {}, "down": {}}
        for src, dst, way in ((client, server, "up"), (server, client, "down")):
            threading.Thread(target=self.pump, args=(src, dst, way), daemon=True).start()

    def pump(self, src, dst, way):
        buffer = b""
        try:
            while True:
                data = src.recv(65536)
                if not data:
                    break
                buffer += data
                while len(buffer) >= 4:
                    total = struct.unpack_from(">i", buffer)[0] + 4
                    if len(buffer) < total:
                        break
                    frame, buffer = buffer[:total], buffer[total:]
                    if way == "down" and self.rewrite:
                        frame = frame.replace(*self.rewrite)
                    self.note(frame, way)
                    dst.sendall(frame)
        except OSError:
            pass
        for s in (src, dst):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def note(self, frame, way):
        form, code, opaque, flag = header_of(frame)
        other = "down" if way == "up" else "up"
        if flag & 1:
            request = self.pending[other].pop(opaque, None)
            if request is not None and form == self.want_form:
                self.frames.save(request, "response", code, frame)
            return
        if not flag & 2:
            self.pending[way][opaque] = code
        if form == self.want_form:
            self.frames.save(code, "request", 0, frame)


def proxy(listen, target, frames, rewrite, want_form):
    server = socket.create_server(("127.0.0.1", listen))

    def accept():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", target))
            except OSError as error:
                print(f"port {target}: {error}")
                client.close()
                continue
            for s in (client, upstream):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Connection(client, upstream, frames, rewrite, want_form)

    threading.Thread(target=accept, daemon=True).start()
    return server


def wait_port(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def wait_registered(port):
    """Until the name server knows a route for the topic that every broker registers, its cluster's name."""
    head = b'{"code":105,"flag":0,"language":"JAVA","opaque":0,"version":513,"extFields":{"topic":"DefaultCluster"}}'
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(struct.pack(">ii", 4 + len(head), len(head)) + head)
            answer = s.recv(65536)
        if b"brokerDatas" in answer:
            return
        time.sleep(0.2)
    raise SystemExit("the broker did not register")


def java(build, artifact, main, args, home, form, heap="256m", properties=(), **popen):
    with open(os.path.join(build, artifact, "classpath.txt")) as f:
        classpath = os.path.join(build, artifact, "classes") + ":" + f.read()
    if "5.5.0" in artifact:
        classpath = os.path.join(os.path.dirname(__file__), "../java/suite/resources") + ":" + classpath
    serialize = ["-Drocketmq.serialize.type=ROCKETMQ"] if form == "binary" else []
    command = ["java", f"-Xmx{heap}", *JVM, f"-Duser.home={home}", "-Drocketmq.client.logUseSlf4j=true",
               *serialize, *properties, "-cp", classpath, main, *args]
    return subprocess.Popen(command, env={**os.environ, "ROCKETMQ_HOME": home}, **popen)


def finish(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        print(f"still running after {seconds} s: {process.args[-1]}")


def record(build, out, version, form):
    client = "client-5.5.0" if version == "5.5.0" else "client-4.9.8"
    server = f"official-{version}"
    home = "/tmp/rocketmq"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home + "/conf")
    for part in ("namesrv", "broker", "tools"):
        with open(f"{home}/conf/logback_{part}.xml", "w") as f:
            f.write('<configuration><root level="ERROR"/></configuration>')
    with open(home + "/namesrv.conf", "w") as f:
        f.write(f"listenPort={NAMESRV}\nkvConfigPath={home}/kvConfig.json\nconfigStorePath={home}/namesrv.properties\n")
    with open(home + "/broker.conf", "w") as f:
        f.write(f"brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n"
                f"listenPort={BROKER}\nhaListenPort={BROKER + 1}\nnamesrvAddr=127.0.0.1:{NAMESRV_PROXY}\n"
                f"storePathRootDir={home}/store\nstorePathCommitLog={home}/store/commitlog\nenablePropertyFilter=true\n"
                f"mappedFileSizeCommitLog=33554432\nmappedFileSizeConsumeQueue=600000\nmaxIndexNum=200000\nmaxHashSlotNum=50000\n"
                f"diskMaxUsedSpaceRatio=95\n")
    frames = Frames(out, form, version)
    want = 1 if form == "binary" else 0
    addresses = (f"127.0.0.1:{BROKER}".encode(), f"127.0.0.1:{BROKER_PROXY}".encode())
    listeners = [proxy(NAMESRV_PROXY, NAMESRV, frames, addresses, want), proxy(BROKER_PROXY, BROKER, frames, None, want)]
    log = open(os.path.join(tempfile.gettempdir(), f"record-{version}-{form}.log"), "w")
    quiet = dict(stdout=log, stderr=log)
    started = []
    try:
        frames.command = "NamesrvStartup, BrokerStartup"
        started.append(java(build, server, "org.apache.rocketmq.namesrv.NamesrvStartup", ["-c", home + "/namesrv.conf"], home, form, **quiet))
        wait_port(NAMESRV)
        started.append(java(build, server, "org.apache.rocketmq.broker.BrokerStartup", ["-c", home + "/broker.conf"], home, form, heap="768m", **quiet))
        wait_port(BROKER)
        wait_registered(NAMESRV)
        namesrv = f"127.0.0.1:{NAMESRV_PROXY}"
        frames.command = f"ringmq.e2e.Workload with {client}"
        workload = java(build, client, "ringmq.e2e.Workload", [namesrv], home, form, **quiet)
        time.sleep(22)
        admin = lambda line: finish(java(build, "official-5.5.0", "org.apache.rocketmq.tools.command.MQAdminStartup",
                                         [*line.format(broker=BROKER_PROXY).split(), "-n", namesrv], home, form, **quiet), 60)
        for line in MQADMIN_ONLINE:
            frames.command = f"mqadmin 5.5.0 {line.format(broker=BROKER_PROXY)} (or Workload)"
            admin(line)
        frames.command = f"ringmq.e2e.Workload with {client}"
        finish(workload, 180)
        frames.command = f"ringmq.e2e.Workload send with {client}, -Dorg.apache.rocketmq.client.sendSmartMsg=false"
        java(build, client, "ringmq.e2e.Workload", [namesrv, "send"], home, form,
             properties=["-Dorg.apache.rocketmq.client.sendSmartMsg=false"], **quiet).wait(60)
        for line in MQADMIN:
            frames.command = "mqadmin 5.5.0 " + line.format(broker=BROKER_PROXY)
            admin(line)
        frames.command = "broker shutdown (SIGTERM)"
        started[1].terminate()
        started[1].wait(30)
    finally:
        for p in reversed(started):
            p.terminate()
            p.wait(30)
        for s in listeners:
            s.shutdown(socket.SHUT_RDWR)
            s.close()
    return frames.rows


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--java-build", required=True)
    arguments.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    arguments.add_argument("--only", default="")
    options = arguments.parse_args()
    for version in ("5.5.0", "4.9.7"):
        for form in ("json", "binary"):
            run = f"{version}-{form}"
            if options.only and options.only != run:
                continue
            for old in os.listdir(options.out):
                if old.endswith(".hex") and f"-{form}-{version}" in old:
                    os.remove(os.path.join(options.out, old))
            rows = record(options.java_build, options.out, version, form)
            client = "5.5.0" if version == "5.5.0" else "4.9.8"
            with open(os.path.join(options.out, f"{run}.md"), "w") as f:
                f.write(f"# Frames of Apache RocketMQ {version}, {form} headers\n\n"
                        f"Recorded {datetime.date.today()} by `record.py --only {run}`: rocketmq-broker and rocketmq-namesrv {version}, "
                        f"rocketmq-client {client}, rocketmq-tools 5.5.0, JDK 17, all from Maven Central"
                        + (", all with -Drocketmq.serialize.type=ROCKETMQ" if form == "binary" else "") + ".\n"
                        f"Nothing was changed in a frame, except that the route answers name the recording proxy's port.\n\n"
                        "| code | file | bytes | what made it |\n|---|---|---|---|\n")
                for code, file, size, command in sorted(rows):
                    f.write(f"| {code} | {file} | {size} | {command} |\n")
            print(run, len(rows), "frames")


if __name__ == "__main__":
    main()
