package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Requests whose sender waits for the reply of whoever consumes them. */
final class RequestChecks {
    private static final long LIMIT_MS = 40_000;

    private RequestChecks() {
    }

    static void register(Check checks) {
        checks.add("a_request_gets_the_reply_of_its_consumer", RequestChecks::reply);
        checks.add("an_asynchronous_request_gets_its_reply", RequestChecks::asynchronous);
        checks.add("a_request_that_nobody_answers_ends_in_time", RequestChecks::unanswered);
    }

    /** Answers each message with its own text behind "re: ". */
    private static void respond(Scope scope, String topic) throws Exception {
        DefaultMQProducer replies = scope.producer();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt message : batch) {
                byte[] text = ("re: " + Inbox.body(message)).getBytes(StandardCharsets.UTF_8);
                try {
                    Scope.ok(replies.send(MessageUtil.createReplyMessage(message, text), 3_000));
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scope.start(consumer);
    }

    private static void reply(Scope scope) throws Exception {
        DefaultMQProducer asking = scope.producer();
        String topic = scope.topic(asking, 4);
        respond(scope, topic);
        for (int i = 0; i < 8; i++) {
            Message answer = asking.request(Scope.message(topic, "TagA", "question " + i), LIMIT_MS);
            Check.equal("re: question " + i, new String(answer.getBody(), StandardCharsets.UTF_8), "reply");
        }
    }

    private static void asynchronous(Scope scope) throws Exception {
        DefaultMQProducer asking = scope.producer();
        String topic = scope.topic(asking, 4);
        respond(scope, topic);
        CompletableFuture<Message> replied = new CompletableFuture<>();
        asking.request(Scope.message(topic, "TagA", "later"), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                // The client calls once without a message, when the request was sent.
                if (message != null) {
                    replied.complete(message);
                }
            }

            @Override
            public void onException(Throwable e) {
                replied.completeExceptionally(e);
            }
        }, LIMIT_MS);
        byte[] body = replied.get(LIMIT_MS, TimeUnit.MILLISECONDS).getBody();
        Check.equal("re: later", new String(body, StandardCharsets.UTF_8), "reply");
    }

    private static void unanswered(Scope scope) throws Exception {
        DefaultMQProducer asking = scope.producer();
        String topic = scope.topic(asking, 4);
        long start = System.currentTimeMillis();
        try {
            asking.request(Scope.message(topic, "TagA", "anybody?"), 2_000);
            throw new IllegalStateException("a reply from nobody");
        } catch (RequestTimeoutException e) {
            Check.that(System.currentTimeMillis() - start >= 1_900, "the request did not wait");
        }
    }
}
