//! Pops and acknowledgements that are refused: the official codes, nothing lost.

use super::*;

async fn refused(client: &Client, code: RequestCode, fields: &[(&str, &str)]) -> (i32, String) {
    let answer = client.ask(code, fields, &[]).await;
    (answer.code, answer.remark)
}

fn with<'a>(
    fields: &[(&'a str, &'a str)],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let mut fields = fields.to_vec();
    fields.retain(|(known, _)| *known != name);
    fields.push((name, value));
    fields
}

#[test]
fn bad_pops_are_refused_with_the_official_codes() {
    let mut cluster = Cluster::new(5, 3, |settings| {
        settings.admin_access = broker::AdminAccess::Everyone;
        settings.creates_groups = false;
    });
    cluster.start();
    cluster.client(|client| async move {
        send(&client, "0", "x").await;
        let group = format!(r#"{{"groupName":"{GROUP}","consumeEnable":true}}"#);
        let code = RequestCode::UpdateAndCreateSubscriptiongroup;
        assert_eq!(client.ask(code, &[], group.as_bytes()).await.code, 0);
        let now = client.sim().now_ms().to_string();
        let good = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("maxMsgNums", "1"),
            ("invisibleTime", "10000"),
            ("pollTime", "0"),
            ("bornTime", &*now),
            ("initMode", "0"),
        ];
        let long = "a".repeat(300);
        for (name, value, code, part) in [
            ("consumerGroup", "nobody", 26, "[nobody] does not exist"),
            ("topic", "nothing", 17, "topic[nothing] not exist"),
            ("queueId", "4", 29, "queueId[4] is illegal"),
            ("maxMsgNums", "33", 29, "1 to 32"),
            ("maxMsgNums", "0", 29, "1 to 32"),
            ("bornTime", "1", 210, "timeout too much"),
            ("exp", "||", 23, "parse the consumer's subscription"),
            ("attemptId", &long, 29, "300 bytes"),
        ] {
            let fields = with(&good, name, value);
            let (got, remark) = refused(&client, RequestCode::PopMessage, &fields).await;
            assert_eq!(got, code, "{name}={value:.20}: {remark}");
            assert!(remark.contains(part), "{name}={value:.20}: {remark}");
        }
        let answer = client.ask(RequestCode::PopMessage, &good, &[]).await;
        let message = popped(&answer).remove(0);
        bad_acks(&client, &message).await;
        assert_eq!(
            message.ack(&client).await.remark,
            "",
            "nothing was lost or taken"
        );
    });
}

async fn bad_acks(client: &Client, message: &Popped) {
    let good = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("extraInfo", &*message.handle),
        ("offset", "0"),
        ("invisibleTime", "1"),
    ];
    let other_queue = message.handle.replace("broker-a 0", "broker-a 1");
    let expired = message.handle.replacen(' ', " 1", 1);
    for code in [
        RequestCode::AckMessage,
        RequestCode::ChangeMessageInvisibletime,
    ] {
        for (name, value, wanted, part) in [
            ("topic", "nothing", 17, "not exist"),
            ("queueId", "9", 13, "queueId[9] is illegal"),
            ("queueId", "-1", 13, "queueId[-1] is illegal"),
            ("offset", "77", 208, "offset is illegal"),
            ("offset", "-1", 208, "offset is illegal"),
            ("extraInfo", "garbage", 1, "the receipt handle has 1 of"),
            ("extraInfo", "a b c d e f g h", 1, "is not a number"),
            ("extraInfo", &other_queue, 0, "another queue"),
            ("extraInfo", &expired, 0, "nothing is popped under"),
            ("consumerGroup", "other", 0, "nothing is popped under"),
        ] {
            let fields = with(&good, name, value);
            let (got, remark) = refused(client, code, &fields).await;
            assert_eq!(got, wanted, "{code:?} {name}={value}: {remark}");
            assert!(remark.contains(part), "{code:?} {name}={value}: {remark}");
        }
    }
    for (body, code) in [
        ("", 208),
        (r#"{"acks":[]}"#, 208),
        ("{", 1),
        (r#"{"acks":[{"r":"x"}]}"#, 1),
    ] {
        let code_asked = RequestCode::BatchAckMessage;
        let answer = client.ask(code_asked, &[], body.as_bytes()).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.remark);
    }
}
