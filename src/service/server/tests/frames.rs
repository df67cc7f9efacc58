//! The frames of long answers: how long they are, and what becomes of them if the client reads little at a time.

use h2::client::Builder;

use super::*;

impl Running {
    /// Opens an HTTP/2 connection whose streams may receive so many bytes before they are read.
    async fn connect_with_window(&self, n_bytes: u32) -> SendRequest<Bytes> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let mut builder = Builder::new();
        let greeted = builder.initial_window_size(n_bytes).handshake(stream);
        let (requests, connection) = greeted.await.unwrap();
        tokio::spawn(connection);
        requests.ready().await.unwrap()
    }
}

/// Begins a batch of so many questions.
fn batch(requests: &mut SendRequest<Bytes>, n_questions: usize) -> ResponseFuture {
    let (answer, mut rest) = begin(requests, "BatchAuthorize", "30S");
    let asked = pb::BatchAuthorizeRequest {
        requests: vec![question(); n_questions],
    };
    rest.send_data(framed(&asked), true).unwrap();
    answer
}

/// Reads a whole answer. Returns the lengths of its frames, the message in them, and its status.
async fn read(answer: ResponseFuture) -> (Vec<usize>, pb::BatchAuthorizeResponse, String) {
    let mut body = answer.await.unwrap().into_body();
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    while let Some(frame) = body.data().await {
        let frame = frame.unwrap();
        lengths.push(frame.len());
        bytes.extend_from_slice(&frame);
        body.flow_control().release_capacity(frame.len()).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    let status = trailers.get("grpc-status").unwrap().to_str().unwrap();
    let message = pb::BatchAuthorizeResponse::decode(bytes.get(5..).unwrap()).unwrap();
    (lengths, message, status.to_owned())
}

#[tokio::test]
async fn an_answer_in_many_frames_is_whole_however_little_the_client_reads_at_a_time() {
    let running = Running::start_with(&[("max_message_bytes", "1MiB")]).await;
    running.load_an_empty_store();
    for (n_questions, is_short) in [(400, true), (2_000, false)] {
        let mut whole = running.connect_with_window(1 << 20).await;
        let (lengths, expected, status) = read(batch(&mut whole, n_questions)).await;
        assert_eq!((expected.results.len(), &*status), (n_questions, "0"));
        let longest = lengths.iter().max().unwrap();
        // The HTTP library writes frames of up to 1,023 bytes together.
        assert_eq!(*longest <= 1_023, is_short, "{lengths:?}");
        for window in [1, 100, 1_022, 1_023, 1_024, 5_000] {
            let mut little = running.connect_with_window(window).await;
            let (lengths, message, status) = read(batch(&mut little, n_questions)).await;
            assert_eq!(message, expected, "a window of {window} bytes");
            assert_eq!(status, "0");
            assert!(lengths.iter().all(|n| *n <= window as usize), "{lengths:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_given_up_in_the_middle_keeps_no_other_one_back() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let mut requests = running.connect_with_window(100).await;
    for _ in 0..20 {
        let mut body = batch(&mut requests, 400).await.unwrap().into_body();
        let first = body.data().await.unwrap().unwrap();
        assert_eq!(first.len(), 100);
        drop(body); // the stream is reset
        let (_, message, status) = read(batch(&mut requests, 3)).await;
        assert_eq!((message.results.len(), &*status), (3, "0"));
    }
}
