package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Clients, topics and groups of one check: names of its own, everything shut down at its end. */
final class Scope implements AutoCloseable {
    private static final AtomicInteger INSTANCES = new AtomicInteger();

    final String namesrv;
    private final String suffix;
    private final Deque<Runnable> closers = new ArrayDeque<>();

    Scope(String namesrv, String run, String check) {
        this.namesrv = namesrv;
        this.suffix = run + "_" + check;
    }

    String name(String prefix) {
        return prefix + "_" + suffix;
    }

    private static String instance() {
        return "e2e-" + ProcessId.PID + "-" + INSTANCES.incrementAndGet();
    }

    DefaultMQProducer producer() throws Exception {
        return start(unstartedProducer());
    }

    DefaultMQProducer unstartedProducer() {
        DefaultMQProducer producer = new DefaultMQProducer(name("PID" + INSTANCES.get()));
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(instance());
        producer.setSendMsgTimeout(10_000);
        return producer;
    }

    DefaultMQProducer start(DefaultMQProducer producer) throws Exception {
        producer.start();
        closers.push(producer::shutdown);
        return producer;
    }

    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(name(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(1000);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.setVipChannelEnabled(false);
        return consumer;
    }

    DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        closers.push(consumer::shutdown);
        return consumer;
    }

    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(name(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.start();
        closers.push(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(name(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    DefaultLitePullConsumer start(DefaultLitePullConsumer consumer) throws Exception {
        consumer.start();
        closers.push(consumer::shutdown);
        return consumer;
    }

    /** Creates a topic and waits until its route has all its queues. */
    String topic(DefaultMQProducer producer, int queues) throws Exception {
        String topic = name("T");
        Compat.createTopic(producer, "TBW102", topic, queues);
        Check.within(10_000, () -> queuesOf(producer, topic).size() == queues,
            () -> "the route of a created topic has " + queuesOf(producer, topic));
        return topic;
    }

    static List<MessageQueue> queuesOf(DefaultMQProducer producer, String topic) {
        try {
            return producer.fetchPublishMessageQueues(topic);
        } catch (Exception e) {
            return new ArrayList<>();
        }
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Sends `count` messages with bodies `prefix 0`… and demands SEND_OK for each. */
    static List<SendResult> send(DefaultMQProducer producer, String topic, String prefix, int count) throws Exception {
        List<SendResult> results = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            results.add(ok(producer.send(message(topic, "TagA", prefix + " " + i))));
        }
        return results;
    }

    static SendResult ok(SendResult result) {
        Check.equal(SendStatus.SEND_OK, result.getSendStatus(), "send status");
        return result;
    }


    @Override
    public void close() {
        while (!closers.isEmpty()) {
            try {
                closers.pop().run();
            } catch (RuntimeException e) {
                System.err.println("closing a client: " + e);
            }
        }
    }

    private static final class ProcessId {
        static final String PID = java.lang.management.ManagementFactory.getRuntimeMXBean().getName().split("@")[0];
    }
}
