package ringmq.e2e;

import java.util.Set;
import java.util.TreeMap;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Sends to a topic on several brokers while the driver kills one of them:
 * `java ringmq.e2e.ClusterProducer TOPIC BROKERS SECONDS`. Prints `SEEN broker` when the first message
 * of a broker was received: from then on the consumer holds queues of that broker (a client whose
 * first question for the group's members meets a dead broker asks again only after 20 s, and one that
 * passed over a broker with its first heartbeat sends the next after 30 s). When messages of so many
 * brokers were received it goes on for so many seconds. The last line is `DONE failed=N after=N
 * brokers=…`: how many sends failed for good, and how many of the second half's messages were received.
 */
public final class ClusterProducer {
    private ClusterProducer() {
    }

    public static void main(String[] args) throws Exception {
        String topic = args[0];
        int brokers = Integer.parseInt(args[1]);
        long half = Long.parseLong(args[2]) * 500;
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("CID_cluster");
        consumer.setNamesrvAddr(System.getenv("NAMESRV_ADDR"));
        consumer.setInstanceName("consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        Set<String> received = new ConcurrentSkipListSet<>();
        Set<String> seen = new ConcurrentSkipListSet<>();
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt m : batch) {
                received.add(m.getMsgId());
                if (seen.add(m.getBrokerName())) {
                    System.out.println("SEEN " + m.getBrokerName());
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer producer = new DefaultMQProducer("PID_cluster");
        producer.setNamesrvAddr(System.getenv("NAMESRV_ADDR"));
        producer.setInstanceName("producer");
        producer.setRetryTimesWhenSendFailed(4);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        Map<String, Integer> taken = new TreeMap<>();
        Set<String> late = new ConcurrentSkipListSet<>();
        int failed = 0;
        long giveUp = System.currentTimeMillis() + 60_000;
        long start = System.currentTimeMillis();
        for (int i = 0; System.currentTimeMillis() < start + 2 * half; i++) {
            if (seen.size() < brokers && System.currentTimeMillis() < giveUp) {
                start = System.currentTimeMillis();
            }
            try {
                SendResult result = producer.send(Scope.message(topic, "TagA", "cluster " + i));
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException("status " + result.getSendStatus());
                }
                String broker = result.getMessageQueue().getBrokerName();
                taken.merge(broker, 1, Integer::sum);
                if (System.currentTimeMillis() > start + half) {
                    late.add(result.getMsgId());
                }
            } catch (Exception e) {
                failed++;
                System.out.println("ERROR " + e);
            }
            Thread.sleep(5);
        }
        for (int i = 0; i < 100 && !received.containsAll(late); i++) {
            Thread.sleep(100);
        }
        late.retainAll(received);
        System.out.println("DONE failed=" + failed + " after=" + late.size() + " brokers=" + taken);
        System.exit(0);
    }
}
