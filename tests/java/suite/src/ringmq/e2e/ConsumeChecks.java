package ringmq.e2e;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumers: sharing, leaving, coming back, failing, filtering. */
final class ConsumeChecks {
    private ConsumeChecks() {
    }

    static void register(Check checks) {
        checks.add("a_failed_message_comes_again_by_its_retry_topic", ConsumeChecks::retry);
        checks.add("two_consumers_share_the_queues_and_one_takes_over_when_the_other_leaves", ConsumeChecks::rebalance);
        checks.add("broadcasting_reaches_every_member", ConsumeChecks::broadcasting);
        checks.add("a_restarted_consumer_goes_on_where_it_was", ConsumeChecks::restart);
        checks.add("a_tag_filter_passes_only_its_tags", ConsumeChecks::tags);
        checks.add("a_parked_pull_is_answered_when_a_message_arrives", ConsumeChecks::longPoll);
        checks.add("a_new_group_on_a_young_topic_sees_its_history", ConsumeChecks::fromLast);
        checks.add("two_groups_receive_everything_each", ConsumeChecks::twoGroups);
        checks.add("an_orderly_consumer_sees_each_queue_in_order", ConsumeChecks::orderly);
    }

    private static DefaultMQPushConsumer consumer(Scope scope, String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.listener());
        return consumer;
    }

    private static void rebalance(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        DefaultMQPushConsumer one = scope.start(consumer(scope, "CID", topic, first));
        Check.within(60_000, () -> Inbox.held(one, topic).size() == 4, () -> "alone it holds " + Inbox.held(one, topic));
        DefaultMQPushConsumer two = consumer(scope, "CID", topic, second);
        two.start();
        Check.within(10_000, () -> Inbox.held(one, topic).size() == 2 && Inbox.held(two, topic).size() == 2,
            () -> "shared as " + Inbox.held(one, topic).size() + " and " + Inbox.held(two, topic).size());
        Set<MessageQueue> union = new HashSet<>(Inbox.held(one, topic));
        union.addAll(Inbox.held(two, topic));
        Check.equal(4, union.size(), "queues held by either");
        Scope.send(producer, topic, "shared", 40);
        // Client 5.5.0 skips the heartbeat with its new subscription version when its periodic one is under way, and every
        // broker then answers 25 to its pulls until the next heartbeat, 30 seconds later.
        Check.within(50_000, () -> first.size() + second.size() >= 40, () -> "received " + first.size() + " and " + second.size());
        Check.that(first.size() == 20 && second.size() == 20, "split as " + first.size() + " and " + second.size());
        two.shutdown();
        Check.within(5_000, () -> Inbox.held(one, topic).size() == 4,
            () -> "after the other left it holds " + Inbox.held(one, topic));
        Scope.send(producer, topic, "alone", 40);
        Check.within(50_000, () -> first.size() >= 60, () -> "the one that stayed received " + first.size() + " of 60");
    }

    private static void broadcasting(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        DefaultMQPushConsumer one = consumer(scope, "CID", topic, first);
        DefaultMQPushConsumer two = consumer(scope, "CID", topic, second);
        Compat.broadcasting(one);
        Compat.broadcasting(two);
        scope.start(one);
        scope.start(two);
        Scope.send(producer, topic, "to all", 20);
        first.expect(20, 60_000);
        second.expect(20, 60_000);
    }

    private static void restart(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Scope.send(producer, topic, "before", 20);
        Inbox before = new Inbox();
        DefaultMQPushConsumer first = consumer(scope, "CID", topic, before);
        first.start();
        before.expect(20, 60_000);
        first.shutdown();
        Scope.send(producer, topic, "while away", 12);
        Inbox after = new Inbox();
        scope.start(consumer(scope, "CID", topic, after));
        after.expect(12, 60_000);
        for (String body : after.bodies()) {
            Check.that(body.startsWith("while away"), "received again: " + body);
        }
    }

    private static void retry(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        Map<Integer, MessageExt> attempts = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt m : batch) {
                attempts.put(m.getReconsumeTimes(), m);
                if (m.getReconsumeTimes() < 2) {
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scope.start(consumer);
        SendResult sent = Scope.send(producer, topic, "fails twice", 1).get(0);
        Check.within(100_000, () -> attempts.size() >= 3, () -> "attempts: " + attempts.keySet());
        for (int times = 0; times < 3; times++) {
            MessageExt m = attempts.get(times);
            Check.equal(topic, m.getTopic(), "topic of attempt " + times);
            Check.equal("fails twice 0", Inbox.body(m), "body of attempt " + times);
            Check.equal("TagA", m.getTags(), "tag of attempt " + times);
            Check.equal(sent.getMsgId(), m.getMsgId(), "message id of attempt " + times);
        }
        Check.equal(topic, attempts.get(1).getProperty("RETRY_TOPIC"), "RETRY_TOPIC");
        Check.equal(sent.getOffsetMsgId(), attempts.get(2).getProperty("ORIGIN_MESSAGE_ID"), "ORIGIN_MESSAGE_ID");
        long delay = attempts.get(1).getStoreTimestamp() - attempts.get(0).getStoreTimestamp();
        Check.that(delay >= 950, "it came again after " + delay + " ms, before its delay of one second");
    }

    private static void tags(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int i = 0; i < 60; i++) {
            Scope.ok(producer.send(Scope.message(topic, "Tag" + (char) ('A' + i % 3), "tagged " + i)));
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, "TagA || TagC");
        consumer.registerMessageListener(inbox.listener());
        scope.start(consumer);
        inbox.expect(40, 60_000);
        for (MessageExt m : inbox.all()) {
            Check.that(!m.getTags().equals("TagB"), "TagB was not subscribed");
        }
    }

    private static void longPoll(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        Inbox inbox = new Inbox();
        scope.start(consumer(scope, "CID", topic, inbox));
        Scope.send(producer, topic, "first", 1);
        inbox.expect(1, 60_000);
        long worst = 0;
        long best = Long.MAX_VALUE;
        for (int i = 0; i < 5; i++) {
            Thread.sleep(1500);
            int before = inbox.size();
            Scope.send(producer, topic, "wake " + i, 1);
            long sent = System.nanoTime();
            Check.within(5_000, () -> inbox.size() > before, () -> "a parked pull was not answered");
            long took = (System.nanoTime() - sent) / 1_000_000;
            worst = Math.max(worst, took);
            best = Math.min(best, took);
        }
        Check.that(worst < 2_000 && best < 500, "woken after " + best + " to " + worst + " ms");
    }

    private static void fromLast(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        Scope.send(producer, topic, "history", 5);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consumer(scope, "CID", topic, inbox);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        scope.start(consumer);
        inbox.expect(5, 60_000);
    }

    private static void twoGroups(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        scope.start(consumer(scope, "CIDa", topic, first));
        scope.start(consumer(scope, "CIDb", topic, second));
        Scope.send(producer, topic, "both", 30);
        first.expect(30, 60_000);
        second.expect(30, 60_000);
    }

    private static void orderly(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        for (int i = 0; i < 100; i++) {
            int order = i % 5;
            Scope.ok(producer.send(Scope.message(topic, "TagA", order + ":" + i / 5),
                (queues, message, key) -> queues.get((Integer) key % queues.size()), order));
        }
        Map<Integer, Long> next = new ConcurrentHashMap<>();
        AtomicReference<String> disorder = new AtomicReference<>();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (List<MessageExt> batch,
            org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext context) -> {
            for (MessageExt m : batch) {
                long expected = next.merge(m.getQueueId(), 1L, Long::sum) - 1;
                if (m.getQueueOffset() != expected) {
                    disorder.set("queue " + m.getQueueId() + ": offset " + m.getQueueOffset() + " where " + expected + " was due");
                }
            }
            inbox.listener().consumeMessage(batch, null);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scope.start(consumer);
        inbox.expect(100, 60_000);
        Check.that(disorder.get() == null, disorder.get());
    }
}
