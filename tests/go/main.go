// What the official Go client v2 does with a broker:
//
//	NAMESRV_ADDR=127.0.0.1:9876 ./suite [text that a check's name contains]
//
// Prints `PASS name ms` or `FAIL name reason` per check and a closing TOTAL line.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
)

var (
	namesrv = primitive.NewPassthroughResolver(strings.Split(os.Getenv("NAMESRV_ADDR"), ";"))
	run     = strconv.FormatInt(time.Now().UnixMilli(), 36)
	serial  atomic.Int64
)

type check struct {
	name string
	body func(*scope) error
}

// scope is what one check owns: names of its own, clients that are shut down at its end.
type scope struct {
	name    string
	closers []func()
}

func (s *scope) of(prefix string) string { return prefix + "_" + run + "_" + s.name }

func (s *scope) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// instance must differ per client: two of one group in one process are one client otherwise.
func instance() string { return fmt.Sprintf("go-%d-%d", os.Getpid(), serial.Add(1)) }

func (s *scope) producer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append([]producer.Option{
		producer.WithNsResolver(namesrv), producer.WithGroupName(s.of("PID")),
		producer.WithInstanceName(instance()), producer.WithSendMsgTimeout(10 * time.Second),
	}, options...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = p.Shutdown() })
	return p, nil
}

// topic creates one with `queues` queues at the broker that the cluster's route names.
func (s *scope) topic(queues int) (string, error) {
	topic := s.of("T")
	a, err := admin.NewAdmin(admin.WithResolver(namesrv))
	if err != nil {
		return "", err
	}
	defer a.Close()
	err = a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(brokerAddress()),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	return topic, err
}

func brokerAddress() string { return os.Getenv("BROKER_ADDR") }

type inbox struct {
	sync.Mutex
	messages []*primitive.MessageExt
}

func (b *inbox) bodies() map[string]int {
	b.Lock()
	defer b.Unlock()
	found := map[string]int{}
	for _, m := range b.messages {
		found[string(m.Body)]++
	}
	return found
}

func (b *inbox) all() []*primitive.MessageExt {
	b.Lock()
	defer b.Unlock()
	return append([]*primitive.MessageExt(nil), b.messages...)
}

func (b *inbox) expect(count int) error {
	err := within(60*time.Second, func() bool { return len(b.bodies()) >= count })
	time.Sleep(300 * time.Millisecond)
	if found := len(b.bodies()); err != nil || found != count {
		return fmt.Errorf("received %d of %d", found, count)
	}
	if found := len(b.all()); found != count {
		return fmt.Errorf("received %d, not %d", found, count)
	}
	return nil
}

func within(limit time.Duration, condition func() bool) error {
	for end := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v", limit)
		}
	}
	return nil
}

func (s *scope) consume(group, topic, expression string, options ...consumer.Option) (*inbox, rocketmq.PushConsumer, error) {
	box := &inbox{}
	c, err := s.consumeWith(group, topic, expression, func(_ context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		box.Lock()
		defer box.Unlock()
		box.messages = append(box.messages, batch...)
		return consumer.ConsumeSuccess, nil
	}, options...)
	return box, c, err
}

func (s *scope) consumeWith(group, topic, expression string,
	listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error), options ...consumer.Option,
) (rocketmq.PushConsumer, error) {
	options = append([]consumer.Option{
		consumer.WithNsResolver(namesrv), consumer.WithGroupName(s.of(group)), consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: expression}, listener); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	var once sync.Once
	s.closers = append(s.closers, func() { once.Do(func() { _ = c.Shutdown() }) })
	return c, nil
}

func send(p rocketmq.Producer, topic, prefix string, count int) error {
	for i := 0; i < count; i++ {
		m := primitive.NewMessage(topic, []byte(fmt.Sprintf("%s %d", prefix, i))).WithTag("TagA")
		result, err := p.SendSync(context.Background(), m)
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("send %d: %v", i, result)
		}
	}
	return nil
}

func thousand(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic := s.of("TA") // created by its first message
	if err := send(p, topic, "Hello RocketMQ", 1000); err != nil {
		return err
	}
	box, _, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	if err := box.expect(1000); err != nil {
		return err
	}
	offsets := map[int][]int64{}
	for _, m := range box.all() {
		offsets[m.Queue.QueueId] = append(offsets[m.Queue.QueueId], m.QueueOffset)
	}
	for queue, found := range offsets {
		sort.Slice(found, func(i, j int) bool { return found[i] < found[j] })
		for i, offset := range found {
			if int64(i) != offset {
				return fmt.Errorf("offset %d of queue %d is %d", i, queue, offset)
			}
		}
	}
	return nil
}

func properties(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(2)
	if err != nil {
		return err
	}
	large := strings.Repeat("x", 100_000) // compressed by the client
	for tag, body := range map[string]string{"TagA": "Grüße, 世界", "TagB": large, "TagC": "not wanted"} {
		m := primitive.NewMessage(topic, []byte(body)).WithTag(tag).WithKeys([]string{"key-" + tag})
		m.WithProperty("property", "значение")
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	box, _, err := s.consume("CID", topic, "TagA || TagB")
	if err != nil {
		return err
	}
	if err := box.expect(2); err != nil {
		return err
	}
	for _, m := range box.all() {
		want := map[string]string{"TagA": "Grüße, 世界", "TagB": large}[m.GetTags()]
		if string(m.Body) != want || m.GetKeys() != "key-"+m.GetTags() || m.GetProperty("property") != "значение" {
			return fmt.Errorf("%s came back changed: keys %q, property %q", m.GetTags(), m.GetKeys(), m.GetProperty("property"))
		}
	}
	return nil
}

func batchAsyncOneway(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(4)
	if err != nil {
		return err
	}
	var batch []*primitive.Message
	for i := 0; i < 10; i++ {
		batch = append(batch, primitive.NewMessage(topic, []byte(fmt.Sprintf("batch %d", i))))
	}
	if _, err := p.SendSync(context.Background(), batch...); err != nil {
		return err
	}
	var answered sync.WaitGroup
	var failed atomic.Value
	for i := 0; i < 50; i++ {
		answered.Add(1)
		m := primitive.NewMessage(topic, []byte(fmt.Sprintf("async %d", i)))
		err := p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			if err != nil {
				failed.Store(err)
			}
			answered.Done()
		}, m)
		if err != nil {
			return err
		}
	}
	answered.Wait()
	if err := failed.Load(); err != nil {
		return err.(error)
	}
	for i := 0; i < 10; i++ {
		if err := p.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(fmt.Sprintf("one way %d", i)))); err != nil {
			return err
		}
	}
	box, _, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	return box.expect(70)
}

func retry(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(1)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	var times []int32
	var bodies []string
	_, err = s.consumeWith("CID", topic, "*", func(ctx context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		for _, m := range batch {
			times = append(times, m.ReconsumeTimes)
			bodies = append(bodies, m.Topic+":"+string(m.Body))
			if m.ReconsumeTimes == 0 {
				if c, ok := primitive.GetConcurrentlyCtx(ctx); ok {
					c.DelayLevelWhenNextConsume = 1
				}
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := send(p, topic, "fails once", 1); err != nil {
		return err
	}
	_ = within(100*time.Second, func() bool { lock.Lock(); defer lock.Unlock(); return len(times) >= 2 })
	lock.Lock()
	defer lock.Unlock()
	if fmt.Sprint(times) != "[0 1]" || bodies[0] != bodies[1] {
		return fmt.Errorf("reconsume times %v of %v", times, bodies)
	}
	return nil
}

func restart(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(4)
	if err != nil {
		return err
	}
	if err := send(p, topic, "before", 20); err != nil {
		return err
	}
	before, c, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	if err := before.expect(20); err != nil {
		return err
	}
	if err := c.Shutdown(); err != nil {
		return err
	}
	if err := send(p, topic, "while away", 12); err != nil {
		return err
	}
	after, _, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	if err := after.expect(12); err != nil {
		return err
	}
	for body := range after.bodies() {
		if !strings.HasPrefix(body, "while away") {
			return fmt.Errorf("received again: %s", body)
		}
	}
	return nil
}

func share(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(4)
	if err != nil {
		return err
	}
	first, _, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	second, leaving, err := s.consume("CID", topic, "*")
	if err != nil {
		return err
	}
	// Shared once both receive; 20 s is this client's own period for balancing.
	sent := 0
	both := func() bool {
		sent += 8
		return send(p, topic, fmt.Sprintf("shared %d", sent), 8) == nil && len(first.all()) > 0 && len(second.all()) > 0
	}
	if err := within(40*time.Second, both); err != nil {
		return fmt.Errorf("one of two consumers received nothing: %d and %d", len(first.all()), len(second.all()))
	}
	whole := func() bool { return len(first.bodies())+len(second.bodies()) >= sent }
	if err := within(20*time.Second, whole); err != nil {
		return fmt.Errorf("received %d and %d of %d", len(first.bodies()), len(second.bodies()), sent)
	}
	if err := leaving.Shutdown(); err != nil {
		return err
	}
	already := len(first.bodies())
	if err := send(p, topic, "alone", 40); err != nil {
		return err
	}
	if err := within(40*time.Second, func() bool { return len(first.bodies()) >= already+40 }); err != nil {
		return fmt.Errorf("the one that stayed received %d of 40", len(first.bodies())-already)
	}
	return nil
}

func broadcasting(s *scope) error {
	p, err := s.producer()
	if err != nil {
		return err
	}
	topic, err := s.topic(2)
	if err != nil {
		return err
	}
	first, _, err := s.consume("CID", topic, "*", consumer.WithConsumerModel(consumer.BroadCasting))
	if err != nil {
		return err
	}
	second, _, err := s.consume("CID", topic, "*", consumer.WithConsumerModel(consumer.BroadCasting))
	if err != nil {
		return err
	}
	if err := send(p, topic, "to all", 20); err != nil {
		return err
	}
	if err := first.expect(20); err != nil {
		return err
	}
	return second.expect(20)
}

func runOne(c check) (err error) {
	s := &scope{name: c.name}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- c.body(s)
	}()
	select {
	case err = <-done:
		s.close()
	case <-time.After(120 * time.Second):
		err = fmt.Errorf("took longer than 120 s")
	}
	return err
}

func main() {
	rlog.SetLogLevel("fatal")
	checks := []check{
		{"a_thousand_sends_are_ok_and_a_thousand_arrive", thousand},
		{"tags_keys_properties_and_bodies_come_back_unchanged", properties},
		{"batch_asynchronous_and_one_way_messages_arrive", batchAsyncOneway},
		{"a_failed_message_comes_again_by_its_retry_topic", retry},
		{"a_restarted_consumer_goes_on_where_it_was", restart},
		{"two_consumers_share_the_queues_and_one_takes_over_when_the_other_leaves", share},
		{"broadcasting_reaches_every_member", broadcasting},
	}
	only := ""
	if len(os.Args) > 1 {
		only = os.Args[1]
	}
	var wait sync.WaitGroup
	var passed, failed atomic.Int32
	for _, c := range checks {
		if !strings.Contains(c.name, only) {
			continue
		}
		wait.Add(1)
		go func(c check) {
			defer wait.Done()
			start := time.Now()
			if err := runOne(c); err != nil {
				failed.Add(1)
				fmt.Println("FAIL", c.name, strings.ReplaceAll(err.Error(), "\n", " "))
				return
			}
			passed.Add(1)
			fmt.Println("PASS", c.name, time.Since(start).Milliseconds())
		}(c)
	}
	wait.Wait()
	fmt.Printf("TOTAL %d passed, %d failed\n", passed.Load(), failed.Load())
	if failed.Load() > 0 || passed.Load() == 0 {
		os.Exit(1)
	}
}
