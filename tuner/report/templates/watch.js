// Asks the server for newer data, and draws it in place.
(() => {
  const SECONDS = {shown: 2, hidden: 15};
  let tag = '"TAG"';
  let timer = 0;
  let isAsking = false;

  async function ask() {
    const answer = await fetch("data.json", {cache: "no-store", headers: {"If-None-Match": tag}});
    if (answer.status === 200) {
      const found = await answer.json();
      await report.ready;
      await report.update(found);
      tag = answer.headers.get("ETag");
    } else {
      const text = await answer.text();
      if (answer.status !== 304) throw new Error(text);
    }
    report.status(decodeURIComponent(answer.headers.get("X-Status") || ""));
  }

  async function look() {
    if (isAsking) return;
    isAsking = true;
    clearTimeout(timer);
    try {
      await ask();
    } catch (error) {
      const reason = error instanceof TypeError ? "tuner watch has ended, or the connection to it" : error.message;
      report.status(`No news: ${reason}`);
    }
    isAsking = false;
    timer = setTimeout(look, 1000 * SECONDS[document.hidden ? "hidden" : "shown"]);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  look();
})();
