//! Questions, which change nothing, are asked again where the connection or a gateway failed.

use std::future::Future;
use std::time::Duration;

use super::failure::Fault;

/// The pauses between tries.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Asks until there is an answer, or it is clear that there will be none.
pub async fn ask<T, F>(mut question: impl FnMut() -> F) -> lancedb::Result<T>
where
    F: Future<Output = lancedb::Result<T>>,
{
    for pause in PAUSES {
        match question().await {
            Err(cause) if Fault::of(&cause).is_passing() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    question().await
}
