(() => {
  const live = document.getElementById("live");
  const say = (text, lost) => {
    live.lastChild.textContent = text;
    live.classList.toggle("lost", lost);
  };
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname, { headers: { accept: "text/html" }, cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
      if (!page) throw new Error("no page");
      document.getElementById("page").replaceWith(page);
      say("live", false);
    } catch {
      say("no connection, trying again", true);
    }
  };
  setInterval(refresh, 5000);
  document.addEventListener("visibilitychange", refresh);
})();
