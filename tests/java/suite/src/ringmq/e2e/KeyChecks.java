package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages found by key, by the producer's id and by their place. */
final class KeyChecks {
    private static final int NO_MESSAGE = 208;

    private KeyChecks() {
    }

    static void register(Check checks) {
        checks.add("messages_are_found_by_each_of_their_keys", KeyChecks::byKey);
        checks.add("a_message_is_found_by_the_producers_id_and_by_its_place", KeyChecks::byId);
        checks.add("the_newest_of_many_with_one_key_are_found_in_a_time_range", KeyChecks::newest);
        checks.add("a_key_that_nobody_has_is_not_found", KeyChecks::missing);
    }

    private static SendResult send(DefaultMQProducer producer, String topic, String keys, String body) throws Exception {
        Message message = new Message(topic, "TagA", keys, body.getBytes(StandardCharsets.UTF_8));
        return Scope.ok(producer.send(message));
    }

    private static List<MessageExt> query(DefaultMQProducer producer, String topic, String key, int max, long begin, long end) {
        try {
            QueryResult result = producer.queryMessage(topic, key, max, begin, end);
            return result.getMessageList();
        } catch (MQClientException e) {
            Check.equal(NO_MESSAGE, e.getResponseCode(), "code of a query that finds nothing");
            return new ArrayList<>();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static TreeSet<String> bodies(List<MessageExt> messages) {
        TreeSet<String> bodies = new TreeSet<>();
        messages.forEach(message -> bodies.add(Inbox.body(message)));
        return bodies;
    }

    private static TreeSet<String> all(DefaultMQProducer producer, String topic, String key) {
        return bodies(query(producer, topic, key, 64, 0, Long.MAX_VALUE));
    }

    /** The index of an official broker lags a little. */
    private static void found(DefaultMQProducer producer, String topic, String key, String... expected) throws Exception {
        TreeSet<String> wanted = new TreeSet<>(java.util.Arrays.asList(expected));
        Check.within(5_000, () -> all(producer, topic, key).equals(wanted),
            () -> key + ": expected " + wanted + ", found " + all(producer, topic, key));
    }

    private static void byKey(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        String other = scope.name("OTHER");
        Compat.createTopic(producer, "TBW102", other, 4);
        Check.within(10_000, () -> Scope.queuesOf(producer, other).size() == 4, () -> "no route of " + other);
        for (int i = 0; i < 12; i++) {
            send(producer, topic, "order-" + i + " customer-" + i % 3, "body " + i);
        }
        send(producer, other, "order-1", "other");
        found(producer, topic, "order-1", "body 1");
        found(producer, topic, "customer-2", "body 2", "body 5", "body 8", "body 11");
        found(producer, other, "order-1", "other");
        MessageExt message = query(producer, topic, "order-1", 64, 0, Long.MAX_VALUE).get(0);
        Check.equal("order-1 customer-1", message.getKeys(), "keys");
        Check.equal("TagA", message.getTags(), "tags");
        Check.equal(topic, message.getTopic(), "topic");
        // While messages flow.
        for (int i = 100; i < 140; i++) {
            send(producer, topic, "flow-" + i, "flow " + i);
            if (i % 10 == 0) {
                found(producer, topic, "flow-" + i, "flow " + i);
            }
        }
    }

    private static void byId(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int i = 0; i < 8; i++) {
            SendResult sent = send(producer, topic, "k", "body " + i);
            String body = "body " + i;
            Check.within(5_000, () -> body.equals(viewed(producer, topic, sent.getMsgId())),
                () -> "by its id " + sent.getMsgId() + ": " + viewed(producer, topic, sent.getMsgId()));
            Check.equal(body, viewed(producer, topic, sent.getOffsetMsgId()), "by its place " + sent.getOffsetMsgId());
        }
    }

    private static String viewed(DefaultMQProducer producer, String topic, String id) {
        try {
            MessageExt message = producer.viewMessage(topic, id);
            return message == null ? "null" : Inbox.body(message);
        } catch (Exception e) {
            return e.toString();
        }
    }

    private static void newest(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int i = 0; i < 10; i++) {
            send(producer, topic, "same", "early " + i);
        }
        Check.within(5_000, () -> all(producer, topic, "same").size() == 10, () -> "found " + all(producer, topic, "same"));
        // Times of an official broker's index are whole seconds.
        Thread.sleep(2_500);
        long between = System.currentTimeMillis();
        Thread.sleep(2_500);
        for (int i = 0; i < 10; i++) {
            send(producer, topic, "same", "late " + i);
            // The order of messages of one millisecond in several queues is open.
            Thread.sleep(3);
        }
        Check.within(5_000, () -> all(producer, topic, "same").size() == 20, () -> "found " + all(producer, topic, "same"));
        TreeSet<String> late = bodies(query(producer, topic, "same", 64, between, Long.MAX_VALUE));
        Check.that(late.size() == 10 && late.stream().allMatch(body -> body.startsWith("late")), "after " + between + ": " + late);
        TreeSet<String> early = bodies(query(producer, topic, "same", 64, 0, between));
        Check.that(early.size() == 10 && early.stream().allMatch(body -> body.startsWith("early")), "before " + between + ": " + early);
        TreeSet<String> three = bodies(query(producer, topic, "same", 3, 0, Long.MAX_VALUE));
        Check.equal(new TreeSet<>(java.util.Arrays.asList("late 7", "late 8", "late 9")), three, "the newest three");
    }

    private static void missing(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 2);
        send(producer, topic, "there", "body");
        found(producer, topic, "there", "body");
        found(producer, topic, "not-there");
        found(producer, topic, "THERE");
        Check.equal(0, query(producer, topic, "there", 0, 0, Long.MAX_VALUE).size(), "maxNum 0");
        Check.equal(0, query(producer, topic, "there", 64, Long.MAX_VALUE, 0).size(), "begin after end");
    }
}
