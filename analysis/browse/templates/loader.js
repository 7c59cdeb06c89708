(async () => {
  "use strict";
  const status = document.getElementById("loading");
  const fail = (text) => { status.textContent = text; status.hidden = false; };
  if (typeof DecompressionStream === "undefined") {
    fail("This page needs a browser from 2023 or later: this browser cannot unpack the data.");
    return;
  }
  const unpacked = async (id) => {
    const coded = atob(document.getElementById(id).textContent.trim());
    const bytes = Uint8Array.from(coded, (sign) => sign.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  try {
    const [tables, plotly, application, data] = await Promise.all(
      ["part-tables", "part-plotly", "part-application", "part-data"].map(unpacked));
    window.shown = JSON.parse(data);
    for (const text of [tables, plotly, application]) {
      const script = document.createElement("script");
      script.textContent = text;  // runs only if this page's policy contains its hash
      document.body.append(script);
    }
    status.hidden = true;
  } catch (error) {
    fail(`The page could not be shown: ${error.message}`);
    throw error;
  }
})();
