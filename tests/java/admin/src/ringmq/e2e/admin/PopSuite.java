package ringmq.e2e.admin;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * POP with the official client 5.5.0: push consumers that leave the balance to the broker, and the
 * client's own requests one by one.
 *
 * <p>`NAMESRV_ADDR=… BROKER_ADDR=… java ringmq.e2e.admin.PopSuite [TEXT]`. The broker must be named
 * broker-a. Prints `PASS name ms` or `FAIL name reason` per check.
 */
public final class PopSuite {
    private static final String BROKER = "broker-a";
    private static final int QUEUES = 8;
    /** A message may come so much later than its time is over. */
    private static final long LATE_MS = 30_000;

    private interface Body {
        void run(String topic, String group) throws Exception;
    }

    private final String namesrv = System.getenv("NAMESRV_ADDR");
    private final String address = System.getenv("BROKER_ADDR");
    private final String run = Long.toString(System.currentTimeMillis(), 36);
    private final String only;
    private final DefaultMQProducer producer = new DefaultMQProducer("ProducerPop_" + run);
    private final DefaultMQAdminExt admin = new DefaultMQAdminExt();
    private final List<DefaultMQPushConsumer> consumers = new ArrayList<>();
    private int passed;
    private int failed;

    private PopSuite(String only) {
        this.only = only;
    }

    public static void main(String[] args) throws Exception {
        PopSuite suite = new PopSuite(args.length > 0 ? args[0] : "");
        suite.runAll();
        System.out.println("TOTAL " + suite.passed + " passed, " + suite.failed + " failed");
        System.exit(suite.failed == 0 && suite.passed > 0 ? 0 : 1);
    }

    private void runAll() throws Exception {
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("pop-admin-" + run);
        admin.start();
        check("push_consumers_without_their_own_balance_pop_everything_once", this::pushAll);
        check("a_message_that_a_push_consumer_fails_comes_again", this::pushFails);
        check("what_one_consumer_does_not_acknowledge_another_gets", this::comesAgain);
        check("an_acknowledged_message_does_not_come_again", this::acknowledged);
        check("a_changed_invisible_time_counts", this::changed);
        check("a_batch_acknowledges_many", this::batch);
        check("an_orderly_pop_locks_its_queue", this::orderly);
        check("a_pop_waits_for_a_message", this::waits);
        check("tags_are_filtered", this::tags);
        check("bad_requests_get_the_official_codes", this::bad);
        producer.shutdown();
        admin.shutdown();
    }

    private void check(String name, Body body) {
        if (!name.contains(only)) {
            return;
        }
        long start = System.nanoTime();
        try {
            String topic = "TopicPop_" + run + "_" + (passed + failed);
            producer.createTopic("TBW102", topic, QUEUES, Collections.emptyMap());
            within(10_000, "the topic's route", () -> {
                try {
                    return producer.fetchPublishMessageQueues(topic).size() == QUEUES;
                } catch (Exception e) {
                    return false;
                }
            });
            body.run(topic, "GroupPop_" + run + "_" + (passed + failed));
            passed++;
            System.out.println("PASS " + name + " " + (System.nanoTime() - start) / 1_000_000);
        } catch (Throwable e) {
            failed++;
            StringBuilder where = new StringBuilder(String.valueOf(e).replace('\n', ' '));
            for (StackTraceElement frame : e.getStackTrace()) {
                if (frame.getClassName().startsWith("ringmq")) {
                    where.append(" at ").append(frame);
                }
            }
            System.out.println("FAIL " + name + " " + where);
        } finally {
            consumers.forEach(DefaultMQPushConsumer::shutdown);
            consumers.clear();
        }
        System.out.flush();
    }

    // What the checks do.

    private void pushAll(String topic, String group) throws Exception {
        setPop(topic, group);
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        List<DefaultMQPushConsumer> both = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            both.add(push(topic, group, (batch, context) -> {
                batch.forEach(message -> seen.merge(text(message), 1, Integer::sum));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }));
        }
        for (DefaultMQPushConsumer consumer : both) {
            within(60_000, "each consumer pops", () -> consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl()
                .getPopProcessQueueTable().keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic)));
        }
        send(topic, 200);
        within(60_000, "all messages, has " + seen.size(), () -> seen.size() == 200);
        Thread.sleep(500);
        that(seen.values().stream().allMatch(count -> count == 1), "each message once: " + seen);
    }

    private void pushFails(String topic, String group) throws Exception {
        setPop(topic, group);
        Map<String, MessageExt> again = new ConcurrentHashMap<>();
        push(topic, group, (batch, context) -> {
            for (MessageExt message : batch) {
                if (message.getReconsumeTimes() == 0) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                again.put(text(message), message);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        send(topic, 4);
        within(60_000 + LATE_MS, "all again", () -> again.size() == 4);
        for (MessageExt message : again.values()) {
            equal(1, message.getReconsumeTimes(), "reconsume times");
            equal(topic, message.getTopic(), "topic");
            that(message.getProperty(MessageConst.PROPERTY_POP_CK) != null, "it has a handle");
            that(message.getProperty(MessageConst.PROPERTY_FIRST_POP_TIME) != null, "it has its first pop time");
        }
    }

    private void comesAgain(String topic, String group) throws Exception {
        send(topic, 10);
        Set<String> first = texts(popAll(topic, group, 3_000));
        equal(10, first.size(), "messages at first");
        long begun = System.currentTimeMillis();
        List<MessageExt> again = popUntil(topic, group, 10, 60_000);
        that(System.currentTimeMillis() - begun >= 1_500, "they came before their time");
        equal(first, texts(again), "the same messages");
        for (MessageExt message : again) {
            equal(1, message.getReconsumeTimes(), "reconsume times");
        }
    }

    private void acknowledged(String topic, String group) throws Exception {
        send(topic, 10);
        List<MessageExt> all = popAll(topic, group, 3_000);
        equal(10, all.size(), "messages");
        for (MessageExt message : all) {
            equal(AckStatus.OK, ack(topic, group, message), "acknowledgement");
        }
        equal(AckStatus.OK, ack(topic, group, all.get(0)), "acknowledged twice");
        Thread.sleep(8_000);
        equal(0, popAll(topic, group, 3_000).size(), "messages that came again");
        within(30_000, "the committed offsets", () -> {
            try {
                return admin.examineConsumeStats(group, topic).computeTotalDiff() == 0;
            } catch (Exception e) {
                return false;
            }
        });
    }

    private void changed(String topic, String group) throws Exception {
        send(topic, 1);
        MessageExt message = popAll(topic, group, 60_000).get(0);
        AckResult result = change(topic, group, message, 2_000);
        equal(AckStatus.OK, result.getStatus(), "change");
        that(result.getExtraInfo() != null, "a new handle");
        List<MessageExt> again = popUntil(topic, group, 1, 40_000);
        equal(1, again.get(0).getReconsumeTimes(), "reconsume times");
        equal(AckStatus.OK, ack(topic, group, again.get(0)), "acknowledgement");
    }

    private void batch(String topic, String group) throws Exception {
        send(topic, 20);
        List<MessageExt> all = popAll(topic, group, 3_000);
        equal(20, all.size(), "messages");
        List<String> handles = new ArrayList<>();
        all.forEach(message -> handles.add(message.getProperty(MessageConst.PROPERTY_POP_CK)));
        Acked acked = new Acked();
        api().batchAckMessageAsync(address, 5_000, acked, topic, group, handles);
        equal(AckStatus.OK, acked.get().getStatus(), "batch");
        Thread.sleep(8_000);
        equal(0, popAll(topic, group, 3_000).size(), "messages that came again");
    }

    private void orderly(String topic, String group) throws Exception {
        MessageQueue queue = new MessageQueue(topic, BROKER, 3);
        for (int i = 0; i < 4; i++) {
            Message message = new Message(topic, "TagA", ("ordered " + i).getBytes(StandardCharsets.UTF_8));
            equal(SendStatus.SEND_OK, producer.send(message, queue).getSendStatus(), "send status");
        }
        PopMessageRequestHeader ask = ask(topic, group, 30_000, 0);
        ask.setQueueId(3);
        ask.setMaxMsgNums(2);
        ask.setOrder(true);
        List<MessageExt> first = pop(ask).getMsgFoundList();
        equal(2, first.size(), "messages at first");
        equal(PopStatus.POLLING_NOT_FOUND, pop(ask).getPopStatus(), "while it is locked");
        equal(AckStatus.OK, ack(topic, group, first.get(0)), "acknowledgement");
        equal(PopStatus.POLLING_NOT_FOUND, pop(ask).getPopStatus(), "while one is left");
        equal(AckStatus.OK, ack(topic, group, first.get(1)), "acknowledgement");
        List<MessageExt> second = pop(ask).getMsgFoundList();
        equal("[ordered 2, ordered 3]", texts(second).toString(), "messages then");
    }

    private void waits(String topic, String group) throws Exception {
        send(topic, 1);
        popAll(topic, group, 60_000);
        PopMessageRequestHeader ask = ask(topic, group, 60_000, 15_000);
        Popped waiting = new Popped();
        api().popMessageAsync(BROKER, address, ask, 20_000, waiting);
        Thread.sleep(1_000);
        that(!waiting.isDone(), "it waits");
        long begun = System.currentTimeMillis();
        send(topic, 1);
        equal(PopStatus.FOUND, waiting.get().getPopStatus(), "status");
        that(System.currentTimeMillis() - begun < 3_000, "it was woken late");
        ask = ask(topic, group, 60_000, 2_000);
        begun = System.currentTimeMillis();
        equal(PopStatus.POLLING_NOT_FOUND, pop(ask).getPopStatus(), "status without messages");
        that(System.currentTimeMillis() - begun >= 1_900, "it did not wait");
    }

    private void tags(String topic, String group) throws Exception {
        for (String tag : Arrays.asList("TagA", "TagB", "TagA", "TagC")) {
            producer.send(new Message(topic, tag, tag.getBytes(StandardCharsets.UTF_8)));
        }
        Set<String> seen = new TreeSet<>();
        for (int i = 0; i < 20; i++) {
            PopMessageRequestHeader ask = ask(topic, group, 60_000, 100);
            ask.setExp("TagA || TagC");
            ask.setExpType("TAG");
            PopResult result = pop(ask);
            if (result.getPopStatus() == PopStatus.FOUND) {
                seen.addAll(texts(result.getMsgFoundList()));
            }
        }
        equal("[TagA, TagC]", seen.toString(), "tags");
    }

    private void bad(String topic, String group) throws Exception {
        send(topic, 1);
        MessageExt message = popAll(topic, group, 60_000).get(0);
        equal(17, ackCode(topic + "_gone", group, message, m -> { }), "unknown topic");
        equal(13, ackCode(topic, group, message, header -> header.setQueueId(99)), "unknown queue");
        equal(208, ackCode(topic, group, message, header -> header.setOffset(4_711L)), "offset beyond the end");
        equal(1, ackCode(topic, group, message, header -> header.setExtraInfo("garbage")), "garbage");
        String other = message.getProperty(MessageConst.PROPERTY_POP_CK).replaceFirst("^(\\S+) \\d+", "$1 17");
        equal(0, ackCode(topic, group, message, header -> header.setExtraInfo(other)), "a handle that is over");
        PopMessageRequestHeader ask = ask(topic, group, 60_000, 0);
        ask.setMaxMsgNums(33);
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.POP_MESSAGE, ask);
        equal(29, api().getRemotingClient().invokeSync(address, request, 5_000).getCode(), "33 messages");
        RemotingCommand empty = RemotingCommand.createRequestCommand(RequestCode.BATCH_ACK_MESSAGE, null);
        equal(208, api().getRemotingClient().invokeSync(address, empty, 5_000).getCode(), "an empty batch");
        equal(AckStatus.OK, ack(topic, group, message), "nothing was lost");
    }

    // What they are made of.

    private void setPop(String topic, String group) throws Exception {
        admin.createAndUpdateSubscriptionGroupConfig(address, groupConfig(group));
        admin.setMessageRequestMode(address, topic, group, MessageRequestMode.POP, 0, 5_000);
    }

    private static org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig groupConfig(String group) {
        org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig config =
            new org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig();
        config.setGroupName(group);
        return config;
    }

    private DefaultMQPushConsumer push(String topic, String group, MessageListenerConcurrently listener)
        throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("pop-" + run + "-" + group + "-" + consumers.size());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setClientRebalance(false);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumers.add(consumer);
        consumer.start();
        return consumer;
    }

    private void send(String topic, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            Message message = new Message(topic, "TagA", ("pop " + i).getBytes(StandardCharsets.UTF_8));
            equal(SendStatus.SEND_OK, producer.send(message).getSendStatus(), "send status");
        }
    }

    private MQClientAPIImpl api() {
        return producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
    }

    private static PopMessageRequestHeader ask(String topic, String group, long invisibleMs, long pollMs) {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(32);
        header.setInvisibleTime(invisibleMs);
        header.setPollTime(pollMs);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp("*");
        return header;
    }

    private PopResult pop(PopMessageRequestHeader ask) throws Exception {
        ask.setBornTime(System.currentTimeMillis());
        Popped popped = new Popped();
        api().popMessageAsync(BROKER, address, ask, 30_000, popped);
        return popped.get();
    }

    /** Pops until nothing comes for a while. */
    private List<MessageExt> popAll(String topic, String group, long invisibleMs) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        for (int nothing = 0; nothing < 3; ) {
            PopResult result = pop(ask(topic, group, invisibleMs, 100));
            if (result.getPopStatus() == PopStatus.FOUND) {
                all.addAll(result.getMsgFoundList());
            } else {
                nothing++;
            }
        }
        return all;
    }

    private List<MessageExt> popUntil(String topic, String group, int count, long invisibleMs) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long end = System.currentTimeMillis() + LATE_MS + 30_000;
        while (all.size() < count && System.currentTimeMillis() < end) {
            PopResult result = pop(ask(topic, group, invisibleMs, 1_000));
            if (result.getPopStatus() == PopStatus.FOUND) {
                all.addAll(result.getMsgFoundList());
            }
        }
        equal(count, all.size(), "messages that came again");
        return all;
    }

    private static AckMessageRequestHeader ackHeader(String topic, String group, MessageExt message) {
        String[] handle = ExtraInfoUtil.split(message.getProperty(MessageConst.PROPERTY_POP_CK));
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setTopic(ExtraInfoUtil.getRealTopic(handle, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(handle));
        header.setOffset(ExtraInfoUtil.getQueueOffset(handle));
        header.setConsumerGroup(group);
        header.setExtraInfo(message.getProperty(MessageConst.PROPERTY_POP_CK));
        return header;
    }

    private AckStatus ack(String topic, String group, MessageExt message) throws Exception {
        Acked acked = new Acked();
        api().ackMessageAsync(address, 5_000, acked, ackHeader(topic, group, message));
        return acked.get().getStatus();
    }

    private int ackCode(String topic, String group, MessageExt message,
        java.util.function.Consumer<AckMessageRequestHeader> change) throws Exception {
        AckMessageRequestHeader header = ackHeader(topic, group, message);
        change.accept(header);
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.ACK_MESSAGE, header);
        return api().getRemotingClient().invokeSync(address, request, 5_000).getCode();
    }

    private AckResult change(String topic, String group, MessageExt message, long invisibleMs) throws Exception {
        AckMessageRequestHeader ack = ackHeader(topic, group, message);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setTopic(ack.getTopic());
        header.setQueueId(ack.getQueueId());
        header.setOffset(ack.getOffset());
        header.setConsumerGroup(group);
        header.setExtraInfo(ack.getExtraInfo());
        header.setInvisibleTime(invisibleMs);
        Acked acked = new Acked();
        api().changeInvisibleTimeAsync(BROKER, address, header, 5_000, acked);
        return acked.get();
    }

    private static final class Popped extends CompletableFuture<PopResult> implements PopCallback {
        @Override
        public void onSuccess(PopResult result) {
            complete(result);
        }

        @Override
        public void onException(Throwable e) {
            completeExceptionally(e);
        }

        @Override
        public PopResult get() throws InterruptedException, java.util.concurrent.ExecutionException {
            try {
                return get(40, TimeUnit.SECONDS);
            } catch (java.util.concurrent.TimeoutException e) {
                throw new IllegalStateException("no answer to a pop");
            }
        }
    }

    private static final class Acked extends CompletableFuture<AckResult> implements AckCallback {
        @Override
        public void onSuccess(AckResult result) {
            complete(result);
        }

        @Override
        public void onException(Throwable e) {
            completeExceptionally(e);
        }

        @Override
        public AckResult get() throws InterruptedException, java.util.concurrent.ExecutionException {
            try {
                return get(20, TimeUnit.SECONDS);
            } catch (java.util.concurrent.TimeoutException e) {
                throw new IllegalStateException("no answer to an acknowledgement");
            }
        }
    }

    private static String text(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private static Set<String> texts(List<MessageExt> messages) {
        Set<String> texts = new TreeSet<>();
        messages.forEach(message -> texts.add(text(message)));
        return texts;
    }

    private static void that(boolean condition, String reason) {
        if (!condition) {
            throw new IllegalStateException(reason);
        }
    }

    private static void equal(Object expected, Object found, String what) {
        that(expected.equals(found), what + ": expected " + expected + ", found " + found);
    }

    private static void within(long millis, String what, BooleanSupplier condition) throws InterruptedException {
        long end = System.currentTimeMillis() + millis;
        while (!condition.getAsBoolean()) {
            that(System.currentTimeMillis() < end, "not within " + millis + " ms: " + what);
            Thread.sleep(50);
        }
    }
}
