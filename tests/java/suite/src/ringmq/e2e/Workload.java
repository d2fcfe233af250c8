package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Makes an official client send each of the common requests once or a few times, so that a recording
 * proxy between it and a server sees one frame of each. Used by tests/golden/record.py.
 */
public final class Workload {
    private static final String TOPIC = "TopicTest";
    private static final String CLIENT_IP = "192.0.2.2";

    private Workload() {
    }

    public static void main(String[] args) throws Exception {
        String namesrv = args[0];
        try {
            if (args.length > 1 && args[1].equals("send")) {
                sendOnly(namesrv);
            } else {
                everything(namesrv);
            }
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(1);
        }
        System.out.println("WORKLOAD DONE");
        System.exit(0);
    }

    /** With -Dorg.apache.rocketmq.client.sendSmartMsg=false this sends code 10 instead of 310. */
    private static void sendOnly(String namesrv) throws Exception {
        DefaultMQProducer producer = producer(namesrv, "PID_long_names");
        producer.send(message("TagA", "key-long", "sent with long field names"));
        producer.shutdown();
    }

    private static void everything(String namesrv) throws Exception {
        DefaultMQProducer producer = producer(namesrv, "PID_golden");
        // A server that has just started may be slow to answer its first requests.
        while (Scope.queuesOf(producer, TOPIC).isEmpty()) {
            step("createTopic", () -> Compat.createTopic(producer, "DefaultCluster", TOPIC, 4));
            Thread.sleep(1000);
        }
        SendResult sent = producer.send(message("TagA", "key-1", "hello"));
        for (int i = 0; i < 8; i++) {
            producer.send(message("TagB", "key-" + i, "body " + i));
        }
        producer.send(new Message("TopicAutoCreated", "TagA", "created by the first send".getBytes(StandardCharsets.UTF_8)));
        producer.sendOneway(message("TagA", "key-oneway", "one way"));
        async(producer);
        batch(producer);
        Message delayed = message("TagA", "key-delay", "one second later");
        delayed.setDelayTimeLevel(1);
        producer.send(delayed);
        byte[] large = new byte[10_000];
        Arrays.fill(large, (byte) 'x');
        producer.send(new Message(TOPIC, "TagA", "key-large", large));
        queries(producer, namesrv, sent);
        transaction(namesrv);
        consumers(namesrv);
        step("litePull", () -> litePull(namesrv));
        step("sql", () -> sql(namesrv));
        producer.shutdown();
    }

    private static void async(DefaultMQProducer producer) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        producer.send(message("TagA", "key-async", "asynchronous"), new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                done.countDown();
            }

            @Override
            public void onException(Throwable e) {
                System.out.println("async: " + e);
                done.countDown();
            }
        });
        done.await(10, TimeUnit.SECONDS);
    }

    private static void batch(DefaultMQProducer producer) throws Exception {
        List<Message> three = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            three.add(message("TagC", "key-batch-" + i, "batch " + i));
        }
        producer.send(three);
    }

    private static void queries(DefaultMQProducer producer, String namesrv, SendResult sent) throws Exception {
        MessageQueue queue = sent.getMessageQueue();
        step("maxOffset", () -> producer.maxOffset(queue));
        step("minOffset", () -> producer.minOffset(queue));
        step("searchOffset", () -> producer.searchOffset(queue, System.currentTimeMillis() - 60_000));
        step("earliest", () -> producer.earliestMsgStoreTime(queue));
        step("viewMessage", () -> producer.viewMessage(TOPIC, sent.getOffsetMsgId()));
        step("queryMessage", () -> producer.queryMessage(TOPIC, "key-1", 8, 0, Long.MAX_VALUE));
        step("queryNothing", () -> producer.queryMessage(TOPIC, "no such key", 8, 0, Long.MAX_VALUE));
        DefaultMQPullConsumer pull = new DefaultMQPullConsumer("CID_golden_pull");
        pull.setNamesrvAddr(namesrv);
        pull.setClientIP(CLIENT_IP);
        pull.setInstanceName("pull");
        pull.start();
        step("pull", () -> pull.pull(queue, "*", 0, 8));
        step("pullTag", () -> pull.pull(queue, "TagZ", 0, 8));
        step("pullBeyond", () -> pull.pull(queue, "*", 1_000_000, 8));
        step("pullEnd", () -> pull.pull(queue, "*", producer.maxOffset(queue), 8));
        step("updateOffset", () -> pull.updateConsumeOffset(queue, 1));
        step("fetchOffset", () -> pull.fetchConsumeOffset(queue, true));
        pull.shutdown();
    }

    private static void transaction(String namesrv) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer("PID_golden_tx");
        producer.setNamesrvAddr(namesrv);
        producer.setClientIP(CLIENT_IP);
        producer.setInstanceName("tx");
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message msg, Object arg) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt msg) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        step("transaction", () -> producer.sendMessageInTransaction(message("TagT", "key-tx", "transaction"), null));
        producer.shutdown();
    }

    private static void consumers(String namesrv) throws Exception {
        AtomicInteger seen = new AtomicInteger();
        AtomicInteger again = new AtomicInteger();
        DefaultMQPushConsumer first = push(namesrv, "CID_golden", "one");
        first.subscribe(TOPIC, "TagA || TagB || TagC");
        first.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            for (MessageExt m : msgs) {
                if (m.getReconsumeTimes() > 0) {
                    again.incrementAndGet();
                } else if (seen.incrementAndGet() <= 2) {
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        first.start();
        DefaultMQPushConsumer second = push(namesrv, "CID_golden", "two");
        second.subscribe(TOPIC, "TagA || TagB || TagC");
        second.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
            seen.addAndGet(msgs.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        Thread.sleep(3000);
        second.start();
        DefaultMQPushConsumer orderly = push(namesrv, "CID_golden_orderly", "orderly");
        orderly.subscribe(TOPIC, "*");
        orderly.registerMessageListener((MessageListenerOrderly) (msgs, context) -> ConsumeOrderlyStatus.SUCCESS);
        orderly.start();
        Thread.sleep(Integer.getInteger("workload.hold.ms", 25_000));
        System.out.println("consumed " + seen + ", again " + again);
        orderly.shutdown();
        second.shutdown();
        first.shutdown();
    }

    private static void litePull(String namesrv) throws Exception {
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer("CID_golden_lite");
        lite.setNamesrvAddr(namesrv);
        lite.setClientIP(CLIENT_IP);
        lite.setInstanceName("lite");
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        lite.subscribe(TOPIC, "*");
        lite.start();
        int got = 0;
        for (int i = 0; i < 20 && got < 5; i++) {
            got += lite.poll(1000).size();
        }
        System.out.println("lite pull " + got);
        lite.commitSync();
        lite.shutdown();
    }

    private static void sql(String namesrv) throws Exception {
        DefaultMQPushConsumer consumer = push(namesrv, "CID_golden_sql", "sql");
        consumer.subscribe(TOPIC, MessageSelector.bySql("a > 1"));
        consumer.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        try {
            consumer.start();
            Thread.sleep(2000);
        } finally {
            consumer.shutdown();
        }
    }

    private static DefaultMQProducer producer(String namesrv, String group) throws MQClientException {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(namesrv);
        producer.setClientIP(CLIENT_IP);
        producer.setInstanceName("producer");
        producer.setSendMsgTimeout(20_000);
        producer.start();
        return producer;
    }

    private static DefaultMQPushConsumer push(String namesrv, String group, String instance) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setClientIP(CLIENT_IP);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    private static Message message(String tag, String key, String body) {
        return new Message(TOPIC, tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    private interface Step {
        void run() throws Exception;
    }

    private static void step(String name, Step step) {
        try {
            step.run();
            System.out.println("step " + name);
        } catch (Exception e) {
            System.out.println("step " + name + ": " + e + " " + Collections.singletonList(e.getCause()));
        }
    }
}
