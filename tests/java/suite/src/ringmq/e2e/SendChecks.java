package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way of sending, each seen again by a consumer. */
final class SendChecks {
    private static final int BODY_LEN_MAX = 4 * 1024 * 1024;
    private static final int MESSAGE_ILLEGAL = 13;

    private SendChecks() {
    }

    static void register(Check checks) {
        checks.add("a_thousand_sends_are_ok_and_a_thousand_arrive", SendChecks::thousand);
        checks.add("a_topic_is_created_by_its_first_message", SendChecks::autoCreate);
        checks.add("a_created_topic_has_the_queues_that_were_asked_for", SendChecks::createTopic);
        checks.add("asynchronous_sends_are_all_answered", SendChecks::async);
        checks.add("one_way_messages_arrive", SendChecks::oneway);
        checks.add("a_batch_is_stored_as_single_messages_in_order", SendChecks::batch);
        checks.add("a_selector_keeps_each_key_in_order_in_one_queue", SendChecks::selector);
        checks.add("a_delayed_message_arrives_after_its_delay", SendChecks::delay);
        checks.add("large_and_compressed_bodies_come_back_unchanged", SendChecks::bodies);
        checks.add("the_largest_body_is_taken_and_one_byte_more_is_refused", SendChecks::bodyLimit);
        checks.add("properties_keys_tags_and_flags_come_back_unchanged", SendChecks::properties);
        checks.add("the_vip_channel_takes_messages", SendChecks::vip);
        checks.add("offsets_in_answers_are_dense_per_queue", SendChecks::denseAnswers);
    }

    private static Inbox consume(Scope scope, String topic, String group) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.listener());
        scope.start(consumer);
        return inbox;
    }

    private static void thousand(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Scope.send(producer, topic, "Hello RocketMQ", 1000);
        Inbox inbox = consume(scope, topic, "CID");
        inbox.expect(1000, 60_000);
        inbox.expectDense(0);
    }

    private static void autoCreate(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.name("TA");
        Scope.send(producer, topic, "first", 8);
        List<MessageQueue> queues = Scope.queuesOf(producer, topic);
        Check.equal(4, queues.size(), "queues of an auto-created topic");
        consume(scope, topic, "CID").expect(8, 60_000);
    }

    private static void createTopic(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 6);
        boolean[] seen = new boolean[6];
        for (SendResult result : Scope.send(producer, topic, "spread", 12)) {
            seen[result.getMessageQueue().getQueueId()] = true;
        }
        for (int i = 0; i < seen.length; i++) {
            Check.that(seen[i], "twelve sends left out queue " + i + " of six");
        }
    }

    private static void async(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        int count = 200;
        CountDownLatch answered = new CountDownLatch(count);
        AtomicInteger ok = new AtomicInteger();
        AtomicReference<Throwable> error = new AtomicReference<>();
        for (int i = 0; i < count; i++) {
            producer.send(Scope.message(topic, "TagA", "async " + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    ok.incrementAndGet();
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    error.set(e);
                    answered.countDown();
                }
            });
        }
        Check.that(answered.await(30, TimeUnit.SECONDS), answered.getCount() + " sends were not answered");
        Check.equal(count, ok.get(), "good answers (last error " + error.get() + ")");
        consume(scope, topic, "CID").expect(count, 60_000);
    }

    private static void oneway(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int i = 0; i < 50; i++) {
            producer.sendOneway(Scope.message(topic, "TagA", "one way " + i));
        }
        consume(scope, topic, "CID").expect(50, 60_000);
    }

    private static void batch(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Message m = new Message(topic, "Tag" + i, "key" + i, ("batch " + i).getBytes(StandardCharsets.UTF_8));
            m.putUserProperty("position", Integer.toString(i));
            batch.add(m);
        }
        SendResult result = Scope.ok(producer.send(batch));
        Check.equal(0L, result.getQueueOffset(), "offset of the batch");
        Check.equal(10, result.getMsgId().split(",").length, "message ids in the answer");
        Inbox inbox = consume(scope, topic, "CID");
        inbox.expect(10, 60_000);
        for (MessageExt m : inbox.all()) {
            String position = Long.toString(m.getQueueOffset());
            Check.equal("batch " + position, Inbox.body(m), "body at offset " + position);
            Check.equal("Tag" + position, m.getTags(), "tag at offset " + position);
            Check.equal("key" + position, m.getKeys(), "key at offset " + position);
            Check.equal(position, m.getUserProperty("position"), "property at offset " + position);
            Check.that(result.getMsgId().contains(m.getMsgId()), "id " + m.getMsgId() + " is not in the answer");
        }
    }

    private static void selector(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int step = 0; step < 10; step++) {
            for (int order = 0; order < 8; order++) {
                Message m = Scope.message(topic, "TagA", order + ":" + step);
                SendResult result = Scope.ok(producer.send(m, (queues, message, key) -> queues.get((Integer) key % queues.size()), order));
                Check.equal(order % 4, result.getMessageQueue().getQueueId(), "queue of order " + order);
            }
        }
        Inbox inbox = consume(scope, topic, "CID");
        inbox.expect(80, 60_000);
        List<MessageExt> all = inbox.all();
        all.sort((a, b) -> Long.compare(a.getQueueOffset(), b.getQueueOffset()));
        int[] next = new int[8];
        for (MessageExt m : all) {
            String[] parts = Inbox.body(m).split(":");
            int order = Integer.parseInt(parts[0]);
            Check.equal(next[order]++, Integer.parseInt(parts[1]), "step of order " + order);
        }
    }

    private static void delay(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Inbox inbox = consume(scope, topic, "CID");
        long[] delayMs = {0, 1000, 5000};
        for (int level = 1; level <= 2; level++) {
            Message m = Scope.message(topic, "TagD", "level " + level);
            m.setDelayTimeLevel(level);
            Scope.ok(producer.send(m));
        }
        inbox.expect(2, 60_000);
        for (MessageExt m : inbox.all()) {
            int level = Integer.parseInt(Inbox.body(m).split(" ")[1]);
            long took = m.getStoreTimestamp() - m.getBornTimestamp();
            Check.that(took >= delayMs[level] - 50 && took < delayMs[level] + 3000,
                "level " + level + " was stored " + took + " ms after its birth");
            Check.equal(topic, m.getTopic(), "topic");
            Check.equal("TagD", m.getTags(), "tag");
        }
    }

    private static void bodies(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 2);
        Random random = new Random(7);
        List<byte[]> bodies = new ArrayList<>();
        for (int length : new int[] {1, 100, 4095, 4096, 4097, 65_536, 300_000, 1_048_576}) {
            byte[] noise = new byte[length];
            random.nextBytes(noise);
            byte[] text = new byte[length];
            Arrays.fill(text, (byte) ('a' + length % 26));
            bodies.add(noise);
            bodies.add(text);
        }
        for (int i = 0; i < bodies.size(); i++) {
            Message m = new Message(topic, "TagA", bodies.get(i));
            m.putUserProperty("index", Integer.toString(i));
            Scope.ok(producer.send(m));
        }
        Inbox inbox = consume(scope, topic, "CID");
        Check.within(60_000, () -> inbox.size() >= bodies.size(), () -> "received " + inbox.size() + " of " + bodies.size());
        for (MessageExt m : inbox.all()) {
            byte[] sent = bodies.get(Integer.parseInt(m.getUserProperty("index")));
            Check.that(Arrays.equals(sent, m.getBody()), "a body of " + sent.length + " came back as " + m.getBody().length + " bytes");
        }
    }

    private static void bodyLimit(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.unstartedProducer();
        producer.setMaxMessageSize(2 * BODY_LEN_MAX);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.setRetryTimesWhenSendFailed(0);
        scope.start(producer);
        String topic = scope.topic(producer, 1);
        byte[] body = new byte[BODY_LEN_MAX];
        new Random(3).nextBytes(body);
        Scope.ok(producer.send(new Message(topic, body)));
        try {
            producer.send(new Message(topic, new byte[BODY_LEN_MAX + 1]));
            throw new Check.Failed("a body above maxMessageSize was taken");
        } catch (MQBrokerException e) {
            Check.equal(MESSAGE_ILLEGAL, e.getResponseCode(), "answer code");
        }
        Inbox inbox = consume(scope, topic, "CID");
        Check.within(60_000, () -> inbox.size() == 1, () -> "the largest body did not arrive");
        Check.that(Arrays.equals(body, inbox.all().get(0).getBody()), "the largest body changed");
    }

    private static void properties(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        Message m = new Message(topic, "Täg-标签", "key1 key2", 0x5A5A5A5A, "Grüße, 世界 🚀".getBytes(StandardCharsets.UTF_8), true);
        m.putUserProperty("plain", "value");
        m.putUserProperty("unicode-ключ", "значение — 値");
        m.putUserProperty("json", "{\"a\":[1,2],\"b\":\"\\\"\"}");
        SendResult sent = Scope.ok(producer.send(m));
        Inbox inbox = consume(scope, topic, "CID");
        inbox.expect(1, 60_000);
        MessageExt got = inbox.all().get(0);
        Check.equal("Grüße, 世界 🚀", Inbox.body(got), "body");
        Check.equal("Täg-标签", got.getTags(), "tag");
        Check.equal("key1 key2", got.getKeys(), "keys");
        Check.equal(0x5A5A5A5A, got.getFlag(), "flag");
        Check.equal("value", got.getUserProperty("plain"), "property");
        Check.equal("значение — 値", got.getUserProperty("unicode-ключ"), "property");
        Check.equal("{\"a\":[1,2],\"b\":\"\\\"\"}", got.getUserProperty("json"), "property");
        Check.equal(sent.getMsgId(), got.getMsgId(), "message id");
        Check.equal(sent.getQueueOffset(), got.getQueueOffset(), "offset");
        Check.equal(0, got.getReconsumeTimes(), "reconsume times");
        Check.that(Math.abs(System.currentTimeMillis() - got.getStoreTimestamp()) < 60_000, "store time " + got.getStoreTimestamp());
        Check.that(got.getBornTimestamp() <= got.getStoreTimestamp() + 1000, "stored before it was born");
    }

    private static void vip(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.unstartedProducer();
        producer.setVipChannelEnabled(true);
        scope.start(producer);
        String topic = scope.topic(producer, 4);
        Scope.send(producer, topic, "vip", 20);
        consume(scope, topic, "CID").expect(20, 60_000);
    }

    private static void denseAnswers(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        long[] next = new long[4];
        for (SendResult result : Scope.send(producer, topic, "dense", 100)) {
            MessageQueue queue = result.getMessageQueue();
            Check.equal(next[queue.getQueueId()]++, result.getQueueOffset(), "offset in " + queue);
            Check.equal(32, result.getOffsetMsgId().length(), "length of the offset message id");
        }
    }
}
