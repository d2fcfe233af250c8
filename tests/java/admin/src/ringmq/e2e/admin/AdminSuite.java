package ringmq.e2e.admin;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * What the official mqadmin 5.5.0 prints about a cluster, checked by column, in one process.
 *
 * <p>`NAMESRV_ADDR=… BROKER_ADDR=… java ringmq.e2e.admin.AdminSuite`. The cluster must be named
 * DefaultCluster and hold one broker. Prints `PASS name ms` or `FAIL name reason` per check.
 */
public final class AdminSuite {
    private static final int MESSAGES = 20;
    private static final String CLUSTER = "DefaultCluster";

    private final String namesrv = System.getenv("NAMESRV_ADDR");
    private final String broker = System.getenv("BROKER_ADDR");
    private final String run = Long.toString(System.currentTimeMillis(), 36);
    private final String topic = "TopicAdmin_" + run;
    private final String group = "GroupAdmin_" + run;
    private final String producerGroup = "ProducerAdmin_" + run;
    private final MqAdmin admin = new MqAdmin(namesrv);
    private final List<SendResult> results = new ArrayList<>();
    private int passed;
    private int failed;

    public static void main(String[] args) throws Exception {
        AdminSuite suite = new AdminSuite();
        suite.runAll();
        System.out.println("TOTAL " + suite.passed + " passed, " + suite.failed + " failed");
        System.exit(suite.failed == 0 && suite.passed > 0 ? 0 : 1);
    }

    private interface Body {
        void run() throws Exception;
    }

    private void check(String name, Body body) {
        long start = System.nanoTime();
        try {
            body.run();
            passed++;
            System.out.println("PASS " + name + " " + (System.nanoTime() - start) / 1_000_000);
        } catch (Exception e) {
            failed++;
            String output = System.getenv("VERBOSE") == null ? "" : "\n" + admin.lastOutput();
            System.out.println("FAIL " + name + " " + String.valueOf(e.getMessage()).replace('\n', ' ') + output);
        }
    }

    private void runAll() throws Exception {
        check("updateTopic_creates_a_topic", this::updateTopic);
        DefaultMQProducer producer = new DefaultMQProducer(producerGroup);
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        for (int i = 0; i < MESSAGES; i++) {
            Message message = new Message(topic, "TagA", "key-" + i, ("admin " + i).getBytes(StandardCharsets.UTF_8));
            SendResult sent = producer.send(message);
            MqAdmin.that(sent.getSendStatus() == SendStatus.SEND_OK, "send status " + sent.getSendStatus());
            results.add(sent);
        }
        producer.getDefaultMQProducerImpl().getMqClientFactory().sendHeartbeatToAllBrokerWithLock();
        DefaultMQPushConsumer consumer = consume();
        check("clusterList_shows_the_broker", this::clusterList);
        check("clusterList_with_more_stats_shows_totals", this::clusterListMore);
        check("topicList_shows_topics", this::topicList);
        check("topicList_with_the_cluster_shows_consumer_groups", this::topicListCluster);
        check("topicRoute_prints_the_route", this::topicRoute);
        check("topicRoute_as_a_list_prints_a_row", this::topicRouteList);
        check("topicRoute_of_an_unknown_topic_says_17", this::topicRouteUnknown);
        check("topicStatus_shows_every_queue", this::topicStatus);
        check("brokerStatus_prints_the_runtime_table", this::brokerStatus);
        check("consumerProgress_of_a_group_has_no_lag", this::consumerProgress);
        check("consumerProgress_lists_the_group_online", this::consumerProgressAll);
        check("consumerConnection_shows_the_member_and_its_subscriptions", this::consumerConnection);
        check("producerConnection_shows_the_producer", this::producerConnection);
        check("updateSubGroup_creates_a_group", this::updateSubGroup);
        check("getBrokerConfig_prints_the_configuration", this::brokerConfig);
        check("cleanExpiredCQ_succeeds_and_takes_no_message_away", () -> cleansNothingYoung("cleanExpiredCQ"));
        check("deleteExpiredCommitLog_succeeds_and_takes_no_young_message_away",
            () -> cleansNothingYoung("deleteExpiredCommitLog"));
        check("cleanUnusedTopic_succeeds_and_takes_no_topic_in_use_away",
            () -> cleansNothingYoung("cleanUnusedTopic"));
        check("queryMsgByKey_prints_the_message", this::queryByKey);
        check("queryMsgByUniqueKey_prints_the_message", this::queryByUniqueKey);
        check("queryMsgById_prints_the_message_of_a_place", this::queryById);
        check("queryMsgByOffset_prints_the_message", this::queryByOffset);
        check("printMsg_prints_every_message", this::printMessages);
        check("wiped_write_permission_comes_back", this::writePermission);
        check("kv_configuration_is_put_read_and_deleted", this::orderConf);
        consumer.shutdown();
        check("consumerProgress_of_a_group_that_left_keeps_its_offsets", this::consumerProgressOffline);
        check("deleteTopic_removes_the_topic", this::deleteTopic);
        producer.shutdown();
    }

    private DefaultMQPushConsumer consume() throws Exception {
        AtomicInteger received = new AtomicInteger();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "TagA || TagB");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            received.addAndGet(batch.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        for (int i = 0; i < 600 && received.get() < MESSAGES; i++) {
            Thread.sleep(100);
        }
        MqAdmin.that(received.get() == MESSAGES, "consumed " + received + " of " + MESSAGES);
        return consumer;
    }

    private void cleansNothingYoung(String command) throws Exception {
        List<String> before = admin.run("topicStatus -t " + topic);
        MqAdmin.contains(admin.run(command + " -b " + broker), "success");
        MqAdmin.contains(admin.run(command + " -c " + CLUSTER), "success");
        Thread.sleep(1_500);
        List<String> after = admin.run("topicStatus -t " + topic);
        MqAdmin.equal(before, after, "topicStatus after " + command);
    }

    private void queryByKey() throws Exception {
        List<String> lines = admin.run("queryMsgByKey -t " + topic + " -k key-7");
        MqAdmin.columns(lines, "#Message ID", "#QID", "#Offset", "#IndexKey");
        String[] row = MqAdmin.row(lines, results.get(7).getMsgId());
        MqAdmin.equal(String.valueOf(results.get(7).getMessageQueue().getQueueId()), row[1], "queue");
        MqAdmin.equal(String.valueOf(results.get(7).getQueueOffset()), row[2], "offset");
        MqAdmin.equal(1L, lines.stream().filter(line -> line.contains(results.get(7).getMsgId())).count(), "rows");
    }

    private void queryByUniqueKey() throws Exception {
        SendResult sent = results.get(5);
        List<String> lines = admin.run("queryMsgByUniqueKey -t " + topic + " -i " + sent.getMsgId());
        theMessage(lines, sent, "key-5");
    }

    private void queryById() throws Exception {
        SendResult sent = results.get(6);
        theMessage(admin.run("queryMsgById -t " + topic + " -i " + sent.getOffsetMsgId()), sent, "key-6");
        theMessage(admin.run("queryMsgById -t " + topic + " -i " + sent.getMsgId()), sent, "key-6");
    }

    private void queryByOffset() throws Exception {
        SendResult sent = results.get(8);
        String place = " -b " + sent.getMessageQueue().getBrokerName() + " -i " + sent.getMessageQueue().getQueueId()
            + " -o " + sent.getQueueOffset();
        theMessage(admin.run("queryMsgByOffset -t " + topic + place), sent, "key-8");
    }

    private void theMessage(List<String> lines, SendResult sent, String key) {
        MqAdmin.that(lines.stream().anyMatch(line -> line.matches("Topic: +" + topic)), "no topic");
        MqAdmin.that(lines.stream().anyMatch(line -> line.matches("Keys: +\\[" + key + "\\]")), "no key");
        MqAdmin.that(lines.stream().anyMatch(line -> line.matches("Queue Offset: +" + sent.getQueueOffset())), "no offset");
        MqAdmin.contains(lines, sent.getMsgId());
    }

    private void printMessages() throws Exception {
        List<String> lines = admin.run("printMsg -t " + topic);
        long printed = lines.stream().filter(line -> line.startsWith("MSGID:")).count();
        MqAdmin.equal((long) MESSAGES, printed, "messages");
        results.forEach(sent -> MqAdmin.contains(lines, sent.getMsgId()));
    }

    private void updateTopic() throws Exception {
        List<String> lines = admin.run("updateTopic -c " + CLUSTER + " -t " + topic + " -r 4 -w 4");
        MqAdmin.contains(lines, "create topic to " + broker + " success.");
        MqAdmin.contains(lines, "TopicConfig [topicName=" + topic + ", readQueueNums=4, writeQueueNums=4, perm=RW-");
        Thread.sleep(500);
    }

    private void clusterList() throws Exception {
        List<String> lines = admin.run("clusterList");
        MqAdmin.columns(lines, "#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)", "#OutTPS(LOAD)",
            "#Timer(Progress)", "#PCWait(ms)", "#Hour", "#SPACE", "#ACTIVATED");
        String[] row = MqAdmin.row(lines, broker);
        MqAdmin.equal(CLUSTER, row[0], "cluster");
        MqAdmin.equal("0", row[2], "broker id");
        MqAdmin.equal(broker, row[3], "address");
        MqAdmin.matches("V\\d+_\\d+_\\d+", row[4], "version");
        MqAdmin.matches("\\d+\\.\\d+\\(\\d+,\\d+ms\\)", row[5], "in TPS");
        MqAdmin.matches("\\d+\\.\\d+\\(\\d+,\\d+ms\\|\\d+,\\d+ms\\)", row[6], "out TPS");
        MqAdmin.matches("[0-9.]+", row[row.length - 2], "used space");
        MqAdmin.equal("true", row[row.length - 1], "activated");
    }

    private void clusterListMore() throws Exception {
        List<String> lines = admin.run("clusterList -m");
        MqAdmin.columns(lines, "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday");
        String[] row = MqAdmin.row(lines, CLUSTER);
        MqAdmin.equal(6, row.length, "columns");
        for (int i = 2; i < 6; i++) {
            MqAdmin.matches("-?\\d+", row[i], "column " + i);
        }
    }

    private void topicList() throws Exception {
        List<String> lines = admin.run("topicList");
        for (String name : Arrays.asList(topic, "%RETRY%" + group, "TBW102", CLUSTER)) {
            MqAdmin.that(lines.contains(name), name + " is not listed");
        }
    }

    private void topicListCluster() throws Exception {
        List<String> lines = admin.run("topicList -c");
        MqAdmin.columns(lines, "#Cluster Name", "#Topic", "#Consumer Group");
        String[] row = MqAdmin.row(lines, topic.substring(0, Math.min(topic.length(), 60)));
        MqAdmin.equal(CLUSTER, row[0], "cluster");
        MqAdmin.equal(topic, row[1], "topic");
        MqAdmin.equal(group, row[2], "group");
    }

    private void topicRoute() throws Exception {
        List<String> lines = admin.run("topicRoute -t " + topic);
        String text = String.join("", lines).replaceAll("\\s", "");
        MqAdmin.that(text.matches("\\{.*\"brokerDatas\":\\[\\{\"brokerAddrs\":\\{\"?0\"?:\"" + broker.replace(".", "\\.") + "\"\\}.*"), "no broker: " + text);
        MqAdmin.that(text.contains("\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4"), "no queues: " + text);
        MqAdmin.that(text.contains("\"cluster\":\"" + CLUSTER + "\""), "no cluster: " + text);
    }

    private void topicRouteList() throws Exception {
        List<String> lines = admin.run("topicRoute -l -t " + topic);
        MqAdmin.columns(lines, "#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm");
        String[] row = MqAdmin.row(lines, broker);
        MqAdmin.equal("4", row[row.length - 3], "read queues");
        MqAdmin.equal("4", row[row.length - 2], "write queues");
        MqAdmin.equal("6", row[row.length - 1], "permission");
    }

    private void topicRouteUnknown() throws Exception {
        String text = String.join("\n", admin.runFailing("topicRoute -t NoSuchTopic_" + run));
        MqAdmin.that(text.contains("CODE: 17"), "no code 17");
        MqAdmin.that(text.contains("No topic route info in name server for the topic: NoSuchTopic_" + run), "no such text: " + text.substring(0, Math.min(400, text.length())));
    }

    private void topicStatus() throws Exception {
        List<String> lines = admin.run("topicStatus -t " + topic);
        MqAdmin.columns(lines, "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated");
        long total = 0;
        int rows = 0;
        for (String line : lines) {
            String[] row = line.trim().split("\\s+");
            if (row.length == 6 && row[1].matches("\\d+")) {
                MqAdmin.equal(Integer.toString(rows++), row[1], "queue id");
                MqAdmin.equal("0", row[2], "min offset");
                total += Long.parseLong(row[3]);
                MqAdmin.matches("\\d{4}-\\d\\d-\\d\\d", row[4], "date");
                MqAdmin.matches("\\d\\d:\\d\\d:\\d\\d,\\d{3}", row[5], "time");
            }
        }
        MqAdmin.equal(4, rows, "queues");
        MqAdmin.equal((long) MESSAGES, total, "sum of max offsets");
    }

    private void brokerStatus() throws Exception {
        List<String> lines = admin.run("brokerStatus -b " + broker);
        for (String key : Arrays.asList("brokerVersionDesc", "bootTimestamp", "runtime", "putTps", "getTotalTps", "getFoundTps",
            "getMissTps", "getTransferredTps", "commitLogMinOffset", "commitLogMaxOffset", "commitLogDirCapacity", "commitLogDiskRatio",
            "consumeQueueDiskRatio", "dispatchBehindBytes", "earliestMessageTimeStamp", "msgPutTotalTodayNow", "msgPutTotalTodayMorning",
            "msgPutTotalYesterdayMorning", "msgGetTotalTodayNow", "msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning",
            "pageCacheLockTimeMills", "pullThreadPoolQueueCapacity", "pullThreadPoolQueueHeadWaitTimeMills", "pullThreadPoolQueueSize",
            "sendThreadPoolQueueCapacity", "sendThreadPoolQueueHeadWaitTimeMills", "sendThreadPoolQueueSize", "putMessageTimesTotal",
            "putMessageSizeTotal", "putMessageAverageSize", "putMessageDistributeTime", "getMessageEntireTimeMax",
            "putMessageEntireTimeMax", "startAcceptSendRequestTimeStamp", "brokerActive")) {
            MqAdmin.that(lines.stream().anyMatch(line -> line.matches(key + "\\s*: .+")), "no key " + key);
        }
        String tps = lines.stream().filter(line -> line.startsWith("putTps")).findFirst().get().replaceAll("^putTps\\s*: ", "");
        // Ten seconds, a minute, ten minutes; a young broker leaves out what it has not measured yet.
        MqAdmin.matches("[0-9.]+( [0-9.]+){0,2}", tps.trim(), "figures of putTps");
        List<String> sorted = lines.stream().filter(line -> line.matches("\\S+\\s*: .*")).map(line -> line.split("\\s*:")[0])
            .collect(java.util.stream.Collectors.toList());
        MqAdmin.that(sorted.size() > 40, "only " + sorted.size() + " keys");
        MqAdmin.contains(admin.run("brokerStatus -c " + CLUSTER), broker);
    }

    private void checkProgress(List<String> lines) {
        MqAdmin.columns(lines, "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#Inflight", "#LastTime");
        long consumed = 0;
        int rows = 0;
        for (String line : lines) {
            String[] row = line.trim().split("\\s+");
            if (row[0].equals(topic)) {
                rows++;
                MqAdmin.equal(row[3], row[4], "broker and consumer offset of queue " + row[2]);
                MqAdmin.equal("0", row[5], "difference of queue " + row[2]);
                consumed += Long.parseLong(row[4]);
            }
        }
        MqAdmin.equal(4, rows, "queues of the topic");
        MqAdmin.equal((long) MESSAGES, consumed, "sum of consumer offsets");
        MqAdmin.contains(lines, "Consume TPS: ");
        MqAdmin.contains(lines, "Consume Diff Total: 0");
    }

    private void consumerProgress() throws Exception {
        // A client commits for the first time ten seconds after its start.
        for (int i = 0; i < 40; i++) {
            List<String> lines = admin.run("consumerProgress -g " + group);
            if (lines.stream().anyMatch(line -> line.equals("Consume Diff Total: 0"))) {
                break;
            }
            Thread.sleep(500);
        }
        checkProgress(admin.run("consumerProgress -g " + group));
    }

    private void consumerProgressOffline() throws Exception {
        checkProgress(admin.run("consumerProgress -g " + group));
    }

    private void consumerProgressAll() throws Exception {
        List<String> lines = admin.run("consumerProgress");
        MqAdmin.columns(lines, "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS", "#Diff Total");
        String[] row = MqAdmin.row(lines, group);
        MqAdmin.equal("1", row[1], "members");
        MqAdmin.equal("V5_5_0", row[2], "version of the member");
        MqAdmin.equal("PUSH", row[3], "type");
        MqAdmin.equal("CLUSTERING", row[4], "model");
        MqAdmin.equal("0", row[row.length - 1], "lag");
    }

    private void consumerConnection() throws Exception {
        List<String> lines = admin.run("consumerConnection -g " + group);
        MqAdmin.columns(lines, "#ClientId", "#ClientAddr", "#Language", "#Version");
        String[] row = MqAdmin.row(lines, "@");
        MqAdmin.equal("JAVA", row[2], "language");
        MqAdmin.equal("V5_5_0", row[3], "version");
        MqAdmin.contains(lines, "Below is subscription:");
        MqAdmin.that(lines.stream().anyMatch(line -> line.contains(topic) && line.contains("TagA || TagB")), "no subscription");
        MqAdmin.contains(lines, "%RETRY%" + group);
        MqAdmin.contains(lines, "ConsumeType: CONSUME_PASSIVELY");
        MqAdmin.contains(lines, "MessageModel: CLUSTERING");
        MqAdmin.contains(lines, "ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET");
    }

    private void producerConnection() throws Exception {
        List<String> lines = admin.run("producerConnection -g " + producerGroup + " -t " + topic);
        MqAdmin.that(lines.stream().anyMatch(line -> line.matches("0001  .*@.*JAVA\\s+V5_5_0.*")), "no connection: " + lines);
    }

    private void updateSubGroup() throws Exception {
        List<String> lines = admin.run("updateSubGroup -c " + CLUSTER + " -g Made_" + run + " -r 7");
        MqAdmin.contains(lines, "create subscription group to " + broker + " success.");
        MqAdmin.contains(lines, "groupName=Made_" + run);
        MqAdmin.contains(admin.run("getConsumerConfig -g Made_" + run), "retryMaxTimes");
        MqAdmin.that(lines.stream().anyMatch(line -> line.contains("retryMaxTimes=7")), "retryMaxTimes is not 7");
    }

    private void brokerConfig() throws Exception {
        List<String> lines = admin.run("getBrokerConfig -b " + broker);
        for (String key : Arrays.asList("brokerName", "brokerClusterName", "autoCreateTopicEnable", "flushDiskType", "maxMessageSize", "listenPort", "storePathRootDir")) {
            MqAdmin.that(lines.stream().anyMatch(line -> line.matches(key + "\\s+=\\s+.+")), "no key " + key);
        }
    }

    private void writePermission() throws Exception {
        String name = MqAdmin.row(admin.run("clusterList"), broker)[1];
        MqAdmin.that(admin.run("wipeWritePerm -b " + name).stream().anyMatch(line -> line.matches("wipe write perm of broker\\[" + name + "\\] in name server\\[.*\\] OK, \\d+")), "not wiped");
        MqAdmin.equal("4", last(MqAdmin.row(admin.run("topicRoute -l -t " + topic), broker)), "permission after wiping");
        MqAdmin.that(admin.run("addWritePerm -b " + name).stream().anyMatch(line -> line.matches("add write perm of broker\\[" + name + "\\] in name server\\[.*\\] OK, \\d+")), "not added");
        MqAdmin.equal("6", last(MqAdmin.row(admin.run("topicRoute -l -t " + topic), broker)), "permission after adding");
    }

    private static String last(String[] row) {
        return row[row.length - 1];
    }

    private void orderConf() throws Exception {
        MqAdmin.contains(admin.run("updateOrderConf -t " + topic + " -m put -v broker-a:4"), "update orderConf success. topic=[" + topic + "]");
        MqAdmin.contains(admin.run("updateOrderConf -t " + topic + " -m get"), "broker-a:4");
        MqAdmin.contains(admin.run("updateOrderConf -t " + topic + " -m delete"), "delete orderConf success. topic=[" + topic + "]");
        String gone = String.join("\n", admin.runFailing("updateOrderConf -t " + topic + " -m get"));
        MqAdmin.that(gone.contains("CODE: 22"), "still there: " + gone);
    }

    private void deleteTopic() throws Exception {
        List<String> lines = admin.run("deleteTopic -c " + CLUSTER + " -t " + topic);
        MqAdmin.contains(lines, "delete topic [" + topic + "] from cluster [" + CLUSTER + "] success.");
        MqAdmin.contains(lines, "delete topic [" + topic + "] from NameServer success.");
        MqAdmin.that(!admin.run("topicList").contains(topic), "the topic is still listed");
        String text = String.join("\n", admin.runFailing("topicStatus -t " + topic));
        MqAdmin.that(text.contains("CODE: 17"), "topicStatus of a deleted topic: " + text);
    }
}
